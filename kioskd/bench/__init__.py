"""What the kiosk costs, each figure beside what others need for the same work in the same run (scripts/bench)."""

"""Who answers: the port, its kinds, and the policy of a link that fails."""

"""How often the scheduler comes round to another task."""

import trio


class Turns:
    """Run it beside what must not keep the others from running."""

    def __init__(self) -> None:
        self.count = 0

    async def run(self) -> None:
        """Count, until cancelled."""
        while True:
            await trio.lowlevel.checkpoint()
            self.count += 1

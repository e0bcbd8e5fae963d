"""Somebody who has the node publish the same thing again and again."""

from __future__ import annotations

from contextlib import suppress
from itertools import count
from typing import Final, final

import trio

from chronosdb.client import NotFound
from chronosdb.wire.errors import ChronosError
from tests.proof.recorded import Recorded
from tests.simulation.people import Person
from tests.simulation.world import TOPIC, World

#: So long a node tries to have a change committed, whether or not anybody waits for the answer.
_TRIED_S: Final = 10.0


@final
class Planner(Person):
    """Puts one schedule after the other under one name, and pauses it now and then; in the end for good."""

    has_to_finish = True

    def __init__(self, world: World, name: str) -> None:
        super().__init__(world, name)
        self._numbers = count()
        #: Whether something it asked for may still be done, although it was given no answer.
        self._unanswered = False

    async def work(self) -> None:
        async with self.world.connected(self.name) as db:
            while await self.pause(6):
                with suppress(ChronosError):
                    await self._change(db)
        if self._unanswered:
            await trio.sleep(_TRIED_S)
        async with self.world.connected(self.name) as db:
            while not await self._stand_still(db):  # noqa: ASYNC110 - a node calls nobody back
                await trio.sleep(0.2)

    async def _change(self, db: Recorded) -> None:
        before, self._unanswered = self._unanswered, True
        await self._ask(db)
        self._unanswered = before

    async def _ask(self, db: Recorded) -> None:
        if self.random.random() < 0.3:
            await db.pause_schedule(self.name)
        else:
            # Each has a payload of its own, which says in the log whose events they are.
            payload = b"%s %d" % (self.name.encode(), next(self._numbers))
            every = self.random.choice((0.3, 1.0, 4.0))
            await db.put_schedule(self.name, TOPIC, payload, every=every)

    async def _stand_still(self, db: Recorded) -> bool:
        try:
            await db.pause_schedule(self.name)
        except NotFound:
            return True
        except ChronosError:
            return False
        return True

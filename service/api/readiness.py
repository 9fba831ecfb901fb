"""Whether this process may be asked: the indexes are there, and it is not about to end."""

import asyncio
import logging

from service.errors import StoreError, StoreUnavailable
from service.store.indexes import check_indexes
from service.store.mongo import Mongo

_RETRY_SECONDS = 1.0
# Probes have little patience, and a late answer is of no use to them.
_MAX_CHECK_SECONDS = 1.0

logger = logging.getLogger(__name__)


class Readiness:
    """Looks at MongoDB whenever a probe asks; in between, requests see what was seen last."""

    def __init__(self, mongo: Mongo) -> None:
        self._mongo = mongo
        self._missing: list[str] = []
        self.is_draining = False

    async def check(self) -> str | None:
        """Why this process should not be asked, or None: the probe's form."""
        if self.is_draining:
            return "shutting down"
        try:
            async with asyncio.timeout(_MAX_CHECK_SECONDS):
                await self.look()
        except TimeoutError:
            return "MongoDB does not answer"
        except StoreError as error:
            return str(error)
        return "; ".join(self._missing) or None

    async def look(self) -> None:
        """Raises `StoreUnavailable`."""
        missing = await check_indexes(self._mongo)
        if missing != self._missing:
            logger.warning("indexes changed", extra={"missing": missing})
        self._missing = missing

    async def watch(self) -> None:
        """While indexes are missing or the login is refused, look again, also where nobody probes.
        Until cancelled; raises `Halted` where the login is refused for long."""
        while True:
            await asyncio.sleep(_RETRY_SECONDS)
            if self._missing or self._mongo.login.is_refused:
                await self.check()
            self._mongo.login.require()

    def require_indexes(self) -> None:
        """Raises `StoreUnavailable` where the last look found no indexes: no find without them."""
        if self._missing:
            raise StoreUnavailable("; ".join(self._missing))

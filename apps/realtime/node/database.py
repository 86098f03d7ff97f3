"""Where sockets ask the database: threads of their own, with a deadline (docs/node.md).

Django has a single thread for async code, in which a slow topic rule of one user would hold up everybody else's
authentication. A database that takes a question and never answers keeps its thread; when all are kept, new ones take
over, so that sockets authenticate again as soon as new connections work.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Final, ParamSpec, Protocol, TypeVar

from django.db import Error, close_old_connections, connections

logger = logging.getLogger(__name__)

# Each holds a database connection of its own.
THREADS: Final = 4
# A database that takes longer than this to find two rows is as good as gone.
TIMEOUT_SECS: Final = 5.0

# How often a thread asks whether its connection is alive, where CONN_HEALTH_CHECKS is on. Django asks for each request,
# which is a query before each of ours. One that dies in between costs one answer, and the next one asks.
_LOOK_EVERY_SECS: Final = 1.0

P = ParamSpec("P")
T = TypeVar("T")


class Database(Protocol):
    """The database of a node's sockets.

    Attributes:
        problem: why the last question got no answer, for the health check; None when it got one.
    """

    problem: str | None

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function where it may wait for the database.

        Raises:
            TimeoutError: no answer in time.
            django.db.Error: and whatever else the function raises.
        """

    def close(self) -> None:
        """Let go of what was used for it."""


class DatabaseThreads:
    """The same in threads."""

    def __init__(self) -> None:
        self.problem: str | None = None
        self._executor = _new_executor()
        # Questions in a row that this executor never answered: each may have taken a thread along.
        self._unanswered = 0

    async def ask(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call the function in one of the threads.

        Raises:
            TimeoutError: no answer within 5 s.
            django.db.Error: and whatever else the function raises.
        """
        executor = self._executor
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(TIMEOUT_SECS):
                answer = await loop.run_in_executor(executor, partial(_call, function, *args, **kwargs))
        except TimeoutError:
            self.problem = f"no answer within {TIMEOUT_SECS:.0f} s"
            if executor is self._executor:
                self._unanswered += 1
                if self._unanswered >= THREADS:
                    self._take_over()
            raise
        except Error as error:
            self.problem = type(error).__name__
            raise
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise  # who asked is gone, which says nothing about the database
            # It was still in the queue when new threads took over.
            raise TimeoutError from error
        except BaseException:  # a refusal is an answer
            self._answered()
            raise
        self._answered()
        return answer

    def close(self) -> None:
        """Let go of the threads and of their connections; calling it again does nothing."""
        with suppress(RuntimeError):
            for _ in range(THREADS):
                self._executor.submit(connections.close_all)
        self._executor.shutdown(wait=False)

    def _answered(self) -> None:
        self.problem = None
        self._unanswered = 0

    def _take_over(self) -> None:
        logger.warning("No thread of the node gets an answer from the database; starting new ones")
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._executor = _new_executor()
        self._unanswered = 0


def _new_executor() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="message-flow-database")


class _ThisThread(threading.local):
    looked_at = float("-inf")


_this_thread: Final = _ThisThread()


def _call(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Call it as Django handles a request: connections that are too old or broken are closed before and after."""
    close_old_connections()
    now = monotonic()
    if now - _this_thread.looked_at > _LOOK_EVERY_SECS:
        _this_thread.looked_at = now
    else:
        for connection in connections.all(initialized_only=True):
            connection.health_check_done = True  # type: ignore[attr-defined]  # its stubs lack it
    try:
        return function(*args, **kwargs)
    except Error:
        _this_thread.looked_at = float("-inf")
        raise
    finally:
        close_old_connections()


def copied(error: Exception) -> Exception:
    """One for each waiter: a raised exception collects the traceback of everybody who raises it."""
    if not isinstance(error, Error | TimeoutError):
        return error
    copy = type(error)(*error.args)
    copy.__cause__ = error
    return copy


class Outage:
    """Says once that the questions of a kind get no answer, until one of them does; `what` is the sentence.

    Attributes:
        lasts: whether the last one got none.
    """

    def __init__(self, log: logging.Logger, what: str) -> None:
        self._log = log
        self._what = what
        self.lasts = False

    def goes_on(self, error: Exception) -> None:
        """A question failed."""
        if not self.lasts:
            self.lasts = True
            mistake = None if isinstance(error, Error | TimeoutError) else error
            self._log.warning("%s: %r", self._what, error, exc_info=mistake)

    def is_over(self) -> None:
        """A question was answered."""
        self.lasts = False

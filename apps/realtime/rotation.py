"""Ends the numbering of streams, so that no cursor of theirs is believed any more (docs/relay.md, "Epochs").

A numbering that has run back, after a backup was restored, gives numbers a second time: a browser would take new events
for those that it has. Under a new epoch it loads its state anew instead. The rows of the old epoch stay until
retention takes them; nobody may see them.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from . import metrics
from .conf import realtime_settings
from .core.names import ALL, Stream
from .models import Deployment, new_epoch
from .models import Stream as StreamRow


def rotate_all() -> tuple[str, int]:
    """Give the deployment and every stream a new epoch; returns it and the number of streams that have a row.

    Raises:
        django.db.Error: nothing was changed.
    """
    epoch = new_epoch()
    with _locked_deployment() as deployment:
        deployment.update(epoch=epoch)
        # A stream without a row changes with the deployment, and nobody can see when. Every node has this one open, and
        # looks at all of them when it changes.
        _streams().bulk_create([StreamRow(name=ALL, epoch=epoch)], ignore_conflicts=True)
        # In the order in which the sequencer locks them: an UPDATE alone takes them as they lie on disk.
        deque(_streams().select_for_update().order_by("name").values_list("name").iterator(), maxlen=0)
        count = _begin_anew(_streams(), epoch)
    return epoch, count


def rotate_stream(stream: Stream) -> str:
    """Give one stream a new epoch, whether it has a row or not, and return it."""
    epoch = new_epoch()
    with _locked_deployment():
        if not _begin_anew(_streams().filter(name=stream), epoch):
            _streams().create(name=stream, epoch=epoch)
    return epoch


def rotate_regressed(stream: Stream, epoch: str, position: int) -> bool:
    """A node has itself delivered `position` of this epoch: where the head lies below, the database has run back.

    Returns whether this call has ended the numbering: not where it stands at `position` or higher, nor where somebody
    else has ended it already.

    Raises:
        django.db.Error: nothing was changed.
    """
    rotated = _begin_anew(_streams().filter(name=stream, epoch=epoch, head__lt=position), new_epoch()) == 1
    if not rotated and position > 0:
        # A backup from before the stream's first event knows no row of it: it stands at (this epoch, 0).
        with _locked_deployment() as deployment:
            if deployment.filter(epoch=epoch).exists() and not _streams().filter(name=stream).exists():
                _streams().create(name=stream, epoch=new_epoch())
                rotated = True
    if rotated:
        metrics.EPOCHS_ROTATED.inc()
    return rotated


@contextmanager
def _locked_deployment() -> Iterator[QuerySet[Deployment]]:
    """Who creates a stream, the sequencer too, locks this row first: no stream is made of an epoch that just ends."""
    alias = realtime_settings().database
    deployment = Deployment.objects.using(alias).filter(id=Deployment.ONLY)
    with transaction.atomic(using=alias):
        # Begins with a write: SQLite refuses to make a writer of a transaction that has read.
        Deployment.objects.using(alias).bulk_create(
            [Deployment(id=Deployment.ONLY, epoch=new_epoch())], ignore_conflicts=True
        )
        deployment.update(id=Deployment.ONLY)
        yield deployment


def _streams() -> QuerySet[StreamRow]:
    return StreamRow.objects.using(realtime_settings().database)


def _begin_anew(streams: QuerySet[StreamRow], epoch: str) -> int:
    return streams.update(epoch=epoch, head=0, floor=0, changed_at=Now())

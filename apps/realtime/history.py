"""Reads the heads of streams and the events behind them (docs/history.md). Everything here uses the database."""

from collections.abc import Iterable

from django.db.models import Value

from .conf import realtime_settings
from .core.names import Stream
from .core.resume import Head
from .models import Deployment, new_epoch
from .models import Stream as StreamRow


def heads(streams: Iterable[Stream]) -> dict[Stream, Head]:
    """Where the streams stand, in one query.

    Raises:
        django.db.Error: the database gave no answer.
    """
    alias = realtime_settings().database
    names = list(streams)
    deployment = Deployment.objects.using(alias).values_list(Value(""), "epoch", Value(0), Value(0))
    rows = StreamRow.objects.using(alias).filter(name__in=names).values_list("name", "epoch", "head", "floor")
    found = {name: Head(epoch, head, floor) for name, epoch, head, floor in rows.union(deployment, all=True)}
    unwritten = found.get("") or Head(deployment_epoch(), 0, 0)
    return {name: found.get(name, unwritten) for name in names}


def deployment_epoch() -> str:
    """The numbering of streams that have no row; made by whoever asks first."""
    deployments = Deployment.objects.using(realtime_settings().database)
    return deployments.get_or_create(id=Deployment.ONLY, defaults={"epoch": new_epoch()})[0].epoch

"""`manage.py realtime publish` and `tail` (docs/commands.md)."""

import json
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import EVERYONE, RealtimeError, Topic, push
from ...publishing.process import publishing_process
from ...publishing.targets import Recipient, streams_of
from ...topics import topic_registry
from ..tail import tail

FLUSH_TIMEOUT_SECS = 5.0


class Command(BaseCommand):
    """Subcommands for the person at the shell."""

    help = "Publish an event, or watch what users would see."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(dest="command", required=True, metavar="publish|tail")
        publish = commands.add_parser("publish", help="publish one event")
        self._add_recipients(publish)
        publish.add_argument("--id", required=True, help="the event's id, such as 'comment/ADDED'")
        publish.add_argument("--data", default="null", help="its data, as JSON")
        watch = commands.add_parser("tail", help="print what a user or a topic's listeners would see, live")
        self._add_recipients(watch)

    def handle(self, *args: Any, **options: Any) -> None:
        to = self._recipient(options)
        try:
            if options["command"] == "publish":
                self._publish(to, options["id"], options["data"])
            else:
                tail(streams_of(to, topic_registry()), self.stdout.write)
        except RealtimeError as error:
            raise CommandError(str(error)) from error

    def _publish(self, to: Recipient, event_id: str, text: str) -> None:
        try:
            data = json.loads(text)
        except ValueError as error:
            raise CommandError(f"--data {text!r} is no JSON: {error}") from error
        push(to, event_id, data)
        publisher = publishing_process().publisher
        if not publisher.flush(FLUSH_TIMEOUT_SECS):
            raise CommandError(f"not confirmed within {FLUSH_TIMEOUT_SECS:.0f} s: {publisher.problem}")
        if publisher.problem:
            raise CommandError(f"it may have reached nobody: {publisher.problem}")
        self.stdout.write(self.style.SUCCESS(f"published {event_id}"))

    @staticmethod
    def _add_recipients(parser: CommandParser) -> None:
        recipient = parser.add_mutually_exclusive_group(required=True)
        recipient.add_argument("--user", metavar="NAME", help="one user, by user name")
        recipient.add_argument("--everyone", action="store_true", help="every signed-in user")
        recipient.add_argument("--topic", metavar="TOPIC", help="whoever listens to this topic")

    @staticmethod
    def _recipient(options: dict[str, Any]) -> Recipient:
        if options["everyone"]:
            return EVERYONE
        if options["topic"] is not None:
            return Topic(options["topic"])
        users = get_user_model()
        try:
            return users._default_manager.get(**{users.USERNAME_FIELD: options["user"]})
        except users.DoesNotExist as error:
            raise CommandError(f"no user is called {options['user']!r}") from error

"""`manage.py realtime publish|notify|tail|sessions|kick|inspect|doctor|relay|rotate-epoch` (docs/commands.md)."""

import sys
from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from ... import EVERYONE, RealtimeError, Topic
from ...core.names import Stream, is_stream
from ...publishing.targets import Recipient, streams_of
from ...rotation import rotate_all, rotate_stream
from ...topics import topic_registry
from ..doctor import command as doctor
from ..inspecting import inspect
from ..live import kick_sessions, show_sessions
from ..relaying import relay
from ..sending import parsed, send_durable, send_ephemeral
from ..tail import tail


class Command(BaseCommand):
    """Subcommands for the person at the shell, and the relay for the supervisor."""

    help = "Send an event, watch what users would see, look at sockets and close them, run the relay."

    def add_arguments(self, parser: CommandParser) -> None:
        commands = parser.add_subparsers(
            dest="command", required=True, metavar="publish|notify|tail|sessions|kick|inspect|doctor|relay|rotate-epoch"
        )
        publish = commands.add_parser("publish", help="send one event to the tabs that are open now")
        self._add_recipients(publish)
        self._add_event(publish)
        notify = commands.add_parser("notify", help="store one event and send it: tabs that are away get it later")
        self._add_recipients(notify)
        self._add_event(notify)
        notify.add_argument("--title", help="what has happened, for people")
        notify.add_argument("--url", help="where to look")
        watch = commands.add_parser("tail", help="print what a user or a topic's listeners would see, live")
        self._add_recipients(watch)
        sessions = commands.add_parser("sessions", help="list the open sockets of all nodes, or those of one user")
        self._add_user(sessions, nargs="?")
        kick = commands.add_parser("kick", help="close the open sockets of a user, or one session, on every node")
        self._add_user(kick, "sid")
        look = commands.add_parser("inspect", help="show what explains that a user did not get an event")
        self._add_user(look)
        program = commands.add_parser("relay", help="publish what others left, trim history; runs until SIGTERM")
        program.add_argument("--once", action="store_true", help="end when nothing is left to do")
        program.add_argument("--metrics-port", type=int, metavar="PORT", help="show metrics on this loopback port")
        rotate = commands.add_parser("rotate-epoch", help="end all numberings, after a backup was restored")
        rotate.add_argument("--stream", metavar="NAME", help="of this stream alone, such as user.7")
        rotate.add_argument("--yes", action="store_true", help="do not ask")
        doctor.add_arguments(commands.add_parser("doctor", help="find out why events do not arrive, and what to do"))

    def execute(self, *args: Any, **options: Any) -> str | None:
        # The doctor runs the system checks itself: an error there is a finding among others.
        options["skip_checks"] = options["skip_checks"] or options["command"] == "doctor"
        return super().execute(*args, **options)

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            match options["command"]:
                case "relay":
                    relay(self._say, once=options["once"], metrics_port=options["metrics_port"])
                case "rotate-epoch":
                    self._rotate(options["stream"], sure=options["yes"])
                case "doctor":
                    doctor.examine(options, self._say)
                case "tail":
                    tail(streams_of(self._recipient(options), topic_registry()), self.stdout.write)
                case "sessions":
                    show_sessions(options["who"], options["taken_as"], self.stdout.write)
                case "kick":
                    kick_sessions(options["who"], options["taken_as"], self.stdout.write)
                case "inspect":
                    inspect(options["who"], options["taken_as"], self.stdout.write)
                case _:
                    self._send(options)
        except RealtimeError as error:
            raise CommandError(str(error)) from error

    def _send(self, options: dict[str, Any]) -> None:
        to, data = self._recipient(options), parsed(options["data"])
        if options["command"] == "publish":
            line, has_left = send_ephemeral(to, options["id"], data), True
        else:
            line, has_left = send_durable(to, options["id"], data, title=options["title"], url=options["url"])
        self.stdout.write((self.style.SUCCESS if has_left else self.style.WARNING)(line))

    def _rotate(self, stream: str | None, *, sure: bool) -> None:
        if stream is not None and not is_stream(stream):
            raise CommandError(f"{stream!r} is no stream: give user.<key>, all or topic.<name>")
        who = "every stream" if stream is None else f"the stream {stream}"
        if not sure:
            question = f"End the numbering of {who}? Each page that follows it loads its state anew. [y/N] "
            if not sys.stdin.isatty():
                raise CommandError("nobody is there to ask: say --yes")
            if input(question).strip().lower() not in ("y", "yes"):
                raise CommandError("nothing was changed")
        if stream is None:
            epoch, count = rotate_all()
            line = f"new epoch {epoch} for the deployment and {count} streams"
        else:
            line = f"new epoch {rotate_stream(Stream(stream))} for {stream}"
        self.stdout.write(self.style.SUCCESS(line))

    def _say(self, line: str) -> None:
        # A supervisor's log is no terminal, and this may be its only line for weeks.
        self.stdout.write(line)
        self.stdout.flush()

    @staticmethod
    def _add_event(parser: CommandParser) -> None:
        parser.add_argument("--id", required=True, help="the event's id, such as 'comment/ADDED'")
        parser.add_argument("--data", default="null", help="its data, as JSON")

    @staticmethod
    def _add_user(parser: CommandParser, *more: str, nargs: str | None = None) -> None:
        ways = ("name", "key", *more)
        parser.add_argument("who", metavar=" or ".join(("USER", *map(str.upper, more))), nargs=nargs)
        parser.add_argument("--as", dest="taken_as", choices=ways, help="what is meant, where it may be several")

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

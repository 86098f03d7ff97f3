"""The open sockets of all nodes, and the end of them (docs/admin.md, "Live sessions")."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db import connections, transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.defaultfilters import pluralize
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.http import urlencode
from django.views.decorators.http import require_POST

from ..core.live import SID
from ..core.names import NAME_MAX_CHARS
from ..node_models import LiveNode
from ..people import users_meant
from ..publishing.asking import Report, kick, list_sessions
from .reading import ReadingAdmin


@admin.register(LiveNode)
class LiveSessionAdmin(ReadingAdmin):
    """Asks the nodes; the table holds no sessions."""

    def get_urls(self) -> list[Any]:
        pages = [
            path("", self._page(self.changelist_view), name="message_flow_livenode_changelist"),
            path("kick/", self._page(require_POST(self.kick_view)), name="message_flow_livenode_kick"),
        ]
        return pages + super().get_urls()

    def has_kick_permission(self, request: HttpRequest) -> bool:
        """Whether this member of the staff may close sockets."""
        return bool(request.user.has_perm("message_flow.kick_session")) and self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The sessions of everybody, or with `q` or `user` (a key) of one user."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("q", "").strip()
        user_id = request.GET.get("user")
        meant = users_meant(asked) if asked and user_id is None else []
        if len(meant) == 1:
            user_id = str(meant[0].pk)
        is_known = _is_key(user_id) if user_id is not None else not asked
        report = list_sessions(user_id) if is_known else None
        sessions = [] if report is None else [(one, datetime.fromtimestamp(one.since, UTC)) for one in report.sessions]
        request.current_app = self.admin_site.name
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "title": "Live sessions",
            "asked": asked,
            "user_id": user_id,
            "meant": meant,
            "report": report,
            "sessions": sessions,
            "may_kick": self.has_kick_permission(request),
            **(extra_context or {}),
        }
        return TemplateResponse(request, "realtime/admin/sessions.html", context)

    def kick_view(self, request: HttpRequest) -> HttpResponse:
        """Closes the session `sid`, or with `user` (a key) all sockets of a user."""
        if not self.has_kick_permission(request):
            raise PermissionDenied
        sid, user_id = request.POST.get("sid", ""), request.POST.get("user", "")
        if SID.fullmatch(sid):
            self._tell(request, f"session {sid}", kick(sid=sid))
        elif _is_key(user_id):
            self._tell(request, f"user of key {user_id}", kick(user_id=user_id))
        else:
            messages.error(request, "Nobody was named who could be kicked.")
        back = reverse("admin:message_flow_livenode_changelist", current_app=self.admin_site.name)
        listed = request.POST.get("listed", "")
        return HttpResponseRedirect(f"{back}?{urlencode({'user': listed})}" if listed else back)

    def _tell(self, request: HttpRequest, whose: str, report: Report) -> None:
        """Say what was done, and note it in the admin's own log."""
        sockets, nodes = pluralize(report.kicked), pluralize(report.answered)
        closed = f"Kicked the {whose}: {report.kicked} socket{sockets} closed on {report.answered} node{nodes}"
        self.log_change(request, LiveNode(id=whose, name=whose), closed)
        if report.silent:
            names = ", ".join(node.name for node in report.silent)
            messages.warning(request, f"{closed}; no answer from {names}. A node that lives looks within 30 s.")
        else:
            messages.success(request, closed)

    def _page(self, view: Any) -> Any:
        page = self.admin_site.admin_view(view)
        # In the transaction of a request (ATOMIC_REQUESTS) no node would see what is asked. Which database that is in
        # is not asked here: the check that says what is wrong with our settings loads this, too.
        for alias in connections:
            page = transaction.non_atomic_requests(using=alias)(page)
        return page


def _is_key(text: str) -> bool:
    """Whether a user may have this key, and the database can hold it."""
    return 0 < len(text) <= NAME_MAX_CHARS and "\0" not in text

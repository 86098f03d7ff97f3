"""A sign-in of the project's own, and views that push (docs/architecture.md)."""

# mypy: ignore-errors

from django.contrib.auth import authenticate, login
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpResponse
from django.views.decorators.csrf import ensure_csrf_cookie
from django.views.decorators.http import require_POST
from message_flow import Topic, push

from .models import Item


@ensure_csrf_cookie
def enter(request):
    """Sign in with address and password."""
    user = authenticate(request, username=request.POST.get("email"), password=request.POST.get("password"))
    if user is None:
        return HttpResponse("who are you?", status=403)
    login(request, user)
    return HttpResponse("welcome")


@require_POST
@login_required
def ship(request):
    """Tell the customer, and whoever follows the order."""
    push(request.user, "order/SHIPPED", {"customer": request.user.pk})
    push(Topic("order-7"), "order/CHANGED", {"state": "shipped"})
    return HttpResponse()


@require_POST
@login_required
def stock(request):
    """Change the other database, and tell it only if that happened."""
    with transaction.atomic(using="warehouse"):
        item = Item.objects.using("warehouse").create(name=request.POST["name"])
        push(request.user, "item/STOCKED", {"item": item.pk, "name": item.name}, using="warehouse")
        if "fail" in request.POST:
            transaction.set_rollback(True, using="warehouse")
    return HttpResponse()

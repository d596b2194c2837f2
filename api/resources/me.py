"""The caller's account: `/me`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from litestar import Controller, Request, Response, delete, get, patch
from litestar.params import JSONBody
from msgspec import UNSET, UnsetType

from api.access.cookies import drop_cookies
from api.access.declarations import EVERYBODY, access
from api.access.guards import check_may_become
from api.context import process
from api.http.bodies import Body, Broken, nfc
from api.resources.auth import COOKIES, SETS_COOKIES, Email, KnownPassword, NewPassword, session_response
from api.shapes import NewRole, Profile
from domain.accounts.accounts import Role, broken_email_rule
from domain.accounts.tokens import Token
from domain.kernel.refusals import (
    EmailTaken,
    LastAdmin,
    OrganizerApprovalRequired,
    OrganizerSignupClosed,
    WrongPassword,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


class ProfilePatch(Body):
    """Changes of the caller's account. Fields that are left out stay as they are."""

    current_password: KnownPassword
    email: Email | UnsetType = UNSET
    password: NewPassword | UnsetType = UNSET

    def broken_rules(self) -> Iterable[Broken]:
        """The address must be valid."""
        fault = broken_email_rule(nfc(self.email)) if self.email is not UNSET else None
        if fault:
            yield Broken("/email", fault)


class OwnRole(Body):
    """The new role of the caller."""

    role: Literal["attendee", "organizer"]


class Farewell(Body):
    """The password, so that a stolen token cannot close the account."""

    current_password: KnownPassword


class MeController(Controller):
    """The caller's account. Requests with a password have the limits of logins, against guesses with a stolen token."""

    path = "/me"
    tags = ("Caller",)

    @get("/", **access(EVERYBODY))
    async def show(self, request: Request[Token, Any, Any]) -> Profile:
        """Show the caller's account."""
        return Profile.of(await process(request).stores.accounts.find(request.user.account_id))

    @patch("/", **access(EVERYBODY, limit="login", limit_address="login_address", refuses=(WrongPassword, EmailTaken)))
    async def change(self, request: Request[Token, Any, Any], data: JSONBody[ProfilePatch]) -> Profile:
        """Change the e-mail address or the password. A new password ends every other session of the account."""
        account = await process(request).membership.change(
            request.user,
            current_password=data.current_password,
            email=nfc(data.email) if data.email is not UNSET else UNSET,
            password=data.password,
        )
        return Profile.of(account)

    @patch(
        "/role",
        **access(
            EVERYBODY,
            refuses=(LastAdmin, OrganizerApprovalRequired, OrganizerSignupClosed),
            reads=COOKIES,
            sends=SETS_COOKIES,
        ),
    )
    async def switch_role(self, request: Request[Token, Any, Any], data: JSONBody[OwnRole]) -> Response[NewRole]:
        """Become an attendee or an organizer. All earlier tokens stop working; the answer has new ones.

        The session goes on. If the account has the role already, only the tokens of the session are refreshed. The
        events of an organizer who becomes an attendee are suspended until the account is an organizer again.
        """
        at, role = process(request), Role(data.role)
        check_may_become(role, at.settings, being=request.user.role)
        return session_response(request, await at.membership.switch_role(request.user, role), NewRole.of)

    @delete(
        "/",
        status_code=204,
        **access(
            EVERYBODY,
            limit="login",
            limit_address="login_address",
            refuses=(WrongPassword, LastAdmin),
            reads=COOKIES,
            sends=SETS_COOKIES,
        ),
    )
    async def leave(self, request: Request[Token, Any, Any], data: JSONBody[Farewell]) -> None:
        """Close the account. Personal data are erased, and bookings of events that have not begun are cancelled.

        The events of the account are suspended.
        """
        await process(request).membership.leave(request.user, current_password=data.current_password)
        drop_cookies(request.scope)

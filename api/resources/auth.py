"""Signup, login, refresh and logout: `/auth`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast

from litestar import Controller, Request, Response, get, post
from litestar.params import JSONBody
from msgspec import Meta

from api.access.cookies import SESSION, drop_cookies, keep_in_cookies, uses_cookies
from api.access.declarations import ANYONE, EVERYBODY, access
from api.access.guards import check_may_become
from api.context import process
from api.http.bodies import Body, Broken, nfc
from api.shapes import Profile, Session
from domain.accounts.accounts import EMAIL_CHARACTERS_MAX, Role, broken_email_rule, email_key
from domain.accounts.passwords import CHARACTERS_MAX, CHARACTERS_MIN, broken_rule
from domain.accounts.tokens import Token, TokenKind
from domain.kernel.refusals import EmailTaken, InvalidCredentials, OrganizerApprovalRequired, OrganizerSignupClosed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from domain.actions.membership import LoggedIn

Shown = TypeVar("Shown")

Email = Annotated[str, Meta(max_length=EMAIL_CHARACTERS_MAX, description="Upper and lower case make no difference.")]
NewPassword = Annotated[str, Meta(min_length=CHARACTERS_MIN, max_length=CHARACTERS_MAX)]
KnownPassword = Annotated[str, Meta(max_length=CHARACTERS_MAX * 2)]
"""A password to be compared. It may be twice as long as a new one, because normalization can shorten it."""


class Signup(Body):
    """A new account."""

    email: Email
    password: NewPassword
    role: Literal["attendee", "organizer"] = "attendee"
    confirm_password: str | None = None

    def broken_rules(self) -> Iterable[Broken]:
        """The address must be valid and the password hard to guess."""
        email_fault = broken_email_rule(nfc(self.email))
        if email_fault:
            yield Broken("/email", email_fault)
        password_fault = broken_rule(self.password, email=self.email)
        if password_fault:
            yield Broken("/password", password_fault)
        if self.confirm_password not in (None, self.password):
            yield Broken("/confirm_password", "is not the same as the password")


class Credentials(Body):
    """The e-mail address and the password of an account."""

    email: Email
    password: KnownPassword


PROFILE_PATH = "/api/v1/me"
"""The path of the caller's own account."""

COOKIES = (SESSION,)
"""The header fields of requests that may ask for cookies instead of tokens."""

SETS_COOKIES = {204: ("Set-Cookie",)}
"""The answer to such a request."""

_REFRESH = access(
    EVERYBODY,
    limit="refresh",
    limit_address="login_address",
    token=TokenKind.REFRESH,
    per_session=True,
    reads=COOKIES,
    sends=SETS_COOKIES,
)
_LOG_OUT = access(EVERYBODY, reads=COOKIES, sends=SETS_COOKIES)


class AuthController(Controller):
    """Accounts and sessions."""

    path = "/auth"
    tags = ("Authentication",)

    @post(
        "/signup",
        status_code=201,
        **access(
            ANYONE,
            limit_address="signup",
            refuses=(EmailTaken, OrganizerApprovalRequired, OrganizerSignupClosed),
            sends={201: ("Location",)},
        ),
    )
    async def sign_up(self, request: Request[Any, Any, Any], data: JSONBody[Signup]) -> Response[Profile]:
        """Create an account. `ORGANIZER_SIGNUP` decides whether it can be an organizer's; it is never an admin's."""
        at, role = process(request), Role(data.role)
        check_may_become(role, at.settings)
        account = await at.membership.sign_up(email=nfc(data.email), password=data.password, role=role)
        return Response(Profile.of(account), headers={"Location": PROFILE_PATH})

    @post(
        "/login",
        status_code=200,
        **access(
            ANYONE,
            limit_address="login_address",
            refuses=(InvalidCredentials,),
            reads=COOKIES,
            sends=SETS_COOKIES,
        ),
    )
    async def log_in(self, request: Request[Any, Any, Any], data: JSONBody[Credentials]) -> Response[Session]:
        """Log in. All failures have the same answer and take the same time."""
        await count_login(request, data.email)
        logged_in = await process(request).membership.log_in(email=data.email, password=data.password)
        return session_response(request, logged_in, Session.of)

    @get("/refresh_token", **_REFRESH)
    async def refresh_by_get(self, request: Request[Token, str, Any]) -> Response[Session]:
        """Exchange a refresh token, as with POST."""
        return await self._refreshed(request)

    @post("/refresh_token", status_code=200, **_REFRESH)
    async def refresh(self, request: Request[Token, str, Any]) -> Response[Session]:
        """Exchange a refresh token, sent as the bearer token, for two new tokens.

        A refresh token works once. If it is sent again within `REFRESH_GRACE_SECONDS` and the new one is unused, the
        answer has the same two tokens: two tabs may refresh at once, or an answer may be lost. A later second use ends
        the session.
        """
        return await self._refreshed(request)

    @get("/logout", status_code=204, **_LOG_OUT)
    async def log_out_by_get(self, request: Request[Token, Any, Any]) -> None:
        """Log out, as with POST."""
        await self._logged_out(request)

    @post("/logout", status_code=204, **_LOG_OUT)
    async def log_out(self, request: Request[Token, Any, Any]) -> None:
        """Log out. The session ends: its access and refresh tokens stop working at once."""
        await self._logged_out(request)

    async def _refreshed(self, request: Request[Token, str, Any]) -> Response[Session]:
        return session_response(
            request, await process(request).membership.refresh(request.user, request.auth), Session.of
        )

    async def _logged_out(self, request: Request[Token, Any, Any]) -> None:
        await process(request).membership.log_out(request.user)
        drop_cookies(request.scope)


def session_response(
    request: Request[Any, Any, Any], logged_in: LoggedIn, shown: Callable[[LoggedIn], Shown]
) -> Response[Shown]:
    """The tokens of a session, in cookies if the request asks for them, else in the body."""
    if not uses_cookies(request.scope):
        return Response(shown(logged_in))
    tokens = {TokenKind.ACCESS: logged_in.access_token, TokenKind.REFRESH: logged_in.refresh_token}
    refresh_s = process(request).settings.refresh_token_seconds
    keep_in_cookies(request.scope, tokens, {TokenKind.ACCESS: logged_in.expires_s, TokenKind.REFRESH: refresh_s})
    return Response(cast("Any", None), status_code=204)


async def count_login(request: Request[Any, Any, Any], email: str) -> None:
    """Count a login by network address and e-mail address; raises RateLimited.

    Both are needed: a limit by e-mail address alone would let strangers lock an account out.
    """
    at = process(request)
    rule = at.rule("login")
    if rule:
        await at.stores.admission.admit_address(at.proxies.client_of(request.scope), rule, subject=email_key(email))

"""What a caller may do: by role on every route, by ownership where a resource has an owner."""

from __future__ import annotations

from typing import TYPE_CHECKING

from domain.accounts.accounts import Role
from domain.kernel.refusals import Forbidden, OrganizerApprovalRequired, OrganizerSignupClosed

if TYPE_CHECKING:
    from api.access.declarations import Access
    from domain.accounts.tokens import Token
    from domain.platform.settings import Settings
    from domain.sales.events import Event


def refusal_of_role(declared: Access, caller: Token | None) -> Forbidden | None:
    """The refusal of a caller without a role that the route declares; None for any other caller."""
    if not declared.roles or (caller is not None and caller.role in declared.roles):
        return None
    return Forbidden(f"The request needs the role {' or '.join(sorted(declared.roles))}.")


def check_may_become(wanted: Role, settings: Settings, *, being: Role = Role.ATTENDEE) -> None:
    """Raise OrganizerApprovalRequired or OrganizerSignupClosed if the caller may not become an organizer by itself."""
    if wanted is not Role.ORGANIZER or being is not Role.ATTENDEE or settings.organizer_signup == "open":
        return
    if settings.organizer_signup == "approval":
        detail = "Sign up or stay as an attendee, and ask an admin for the role of an organizer."
        raise OrganizerApprovalRequired(detail)
    detail = "This service accepts no new organizers. Use it as an attendee."
    raise OrganizerSignupClosed(detail)


def check_owns_event(caller: Token, event: Event) -> None:
    """Raise Forbidden unless the caller is the event's organizer or an admin."""
    if caller.account_id != event.organizer_id and caller.role is not Role.ADMIN:
        detail = "The event belongs to another organizer."
        raise Forbidden(detail)

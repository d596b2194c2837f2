"""Request bodies: strict JSON decoded into structs. A refusal lists every broken rule."""

from __future__ import annotations

import json
import re
import unicodedata
from functools import cache
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, cast

import msgspec
from litestar.dto import AbstractDTO
from litestar.exceptions import InternalServerException
from litestar.exceptions.http_exceptions import RequestEntityTooLarge
from msgspec import Struct

from api.http.headers import field as header_field
from api.http.problems import CALLER_LEFT, MalformedBody, UnsupportedMediaType
from domain.kernel.refusals import Invalid

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable

    from litestar._openapi.schema_generation import SchemaCreator
    from litestar.dto.data_structures import DTOFieldDefinition
    from litestar.handlers import BaseRouteHandler
    from litestar.openapi.spec import Reference, Schema
    from litestar.types import Receive, Scope
    from litestar.typing import FieldDefinition

Model = TypeVar("Model", bound="Body")

JSON_MEDIA_TYPE = "application/json"

DECODED = "decoded_body"
"""The key of the decoded body in a request's scope, so that a body is decoded once."""

BODY_BYTES_MAX = 65_536
"""Enough for a description of 10,000 characters, each of at most six bytes in JSON."""

IDENTITY = "identity"
CHARSETS = frozenset({"utf-8", "utf8", "us-ascii"})
"""The accepted charsets: UTF-8, and ASCII, which is a part of it."""

NESTED_TOO_DEEPLY = "The body is nested too deeply."

POINTER_CHARS_MAX = 100
"""Characters of an unknown field's name that are repeated in the answer."""

UNPRINTABLE = (
    "\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f"
    "\\u061c\\u200b\\u200e\\u200f\\u2028-\\u202e\\u2066-\\u2069\\ufeff"
)
"""Control characters and characters that reorder or hide text; a name with them can look like another name."""

LINE_PATTERN = f"^(?![\\s\\S]*[\\t\\n\\r{UNPRINTABLE}])[\\s\\S]*\\S"
TEXT_PATTERN = f"^(?![\\s\\S]*[{UNPRINTABLE}])"
"""Patterns that mean the same in Python and JavaScript, for the OpenAPI document; they match in linear time."""


class Broken(Struct, frozen=True):
    """A rule that a field breaks."""

    pointer: str
    message: str


class Body(Struct, forbid_unknown_fields=True, kw_only=True):
    """A request body. Unknown fields are refused."""

    def broken_rules(self) -> Iterable[Broken]:
        """The rules that types cannot express; called after all fields have the right types."""
        return ()


class JsonBody(AbstractDTO[Model]):
    """Decodes the body of every route strictly.

    Raises:
        UnsupportedMediaType, MalformedBody.
        Invalid: carries one entry for each broken rule; none repeats a value of the request.
    """

    _decoders: ClassVar[dict[str, msgspec.json.Decoder[Any]]] = {}

    @classmethod
    def create_for_field_definition(
        cls, field_definition: FieldDefinition, handler_id: str, backend_cls: object = None
    ) -> None:
        """Prepare the decoder for the body of a route."""
        del backend_cls
        cls._decoders[handler_id] = msgspec.json.Decoder(field_definition.annotation)

    @classmethod
    def create_openapi_schema(
        cls, field_definition: FieldDefinition, handler_id: str, schema_creator: SchemaCreator
    ) -> Reference | Schema:
        """The schema of the body."""
        del handler_id
        return schema_creator.for_field_definition(field_definition)

    @classmethod
    def generate_field_definitions(cls, model_type: type[Any]) -> Generator[DTOFieldDefinition, None, None]:
        """Yield nothing: structs are decoded as a whole."""
        del model_type
        yield from ()

    @classmethod
    def detect_nested_field(cls, field_definition: FieldDefinition) -> bool:
        """Return False: structs are decoded as a whole."""
        del field_definition
        return False

    @classmethod
    def takes_body(cls, handler: BaseRouteHandler) -> bool:
        """Whether a route has a body."""
        return handler.handler_id in cls._decoders

    @classmethod
    def decoder_of(cls, handler: BaseRouteHandler) -> msgspec.json.Decoder[Body] | None:
        """The decoder of a route's body, None if the route has no body."""
        return cls._decoders.get(handler.handler_id)

    @classmethod
    def decode_early(cls, handler: BaseRouteHandler, scope: Scope, body: bytes) -> None:
        """Decode the body of a route before the framework does.

        Raises:
            UnsupportedMediaType, MalformedBody, Invalid.
        """
        decoder: msgspec.json.Decoder[Body] = cls._decoders[handler.handler_id]
        scope[DECODED] = decode_body(scope, body, decoder)  # type: ignore[literal-required]  # a key of ours

    def decode_bytes(self, value: bytes) -> Body:
        """The decoded body."""
        scope, handler = self.asgi_connection.scope, self.asgi_connection.route_handler
        if DECODED not in scope:
            self.decode_early(handler, scope, value)
        decoded: Body = scope.pop(DECODED)  # type: ignore[misc]  # a key of ours
        return decoded


async def read_body(scope: Scope, receive: Receive) -> bytes:
    """A request's body, to its end.

    Raises:
        RequestEntityTooLarge: as soon as that is known, before the rest arrives.
        InternalServerException: the caller left.
    """
    announced = header_field(scope, b"content-length")
    if announced and announced.isdecimal() and int(announced) > BODY_BYTES_MAX:
        raise RequestEntityTooLarge
    body = b""
    while True:
        message: Any = await receive()
        if message["type"] == "http.disconnect":
            raise InternalServerException(CALLER_LEFT)
        body += cast("bytes", message["body"])
        if len(body) > BODY_BYTES_MAX:
            raise RequestEntityTooLarge
        if not message["more_body"]:
            return body


def decode_body(scope: Scope, body: bytes, decoder: msgspec.json.Decoder[Model]) -> Model:
    """Decode the body of a request.

    Raises:
        UnsupportedMediaType, MalformedBody, Invalid.
    """
    check_media_type(scope)
    if not body:
        detail = "Send a body in JSON."
        raise MalformedBody(detail)
    return decode(body, decoder)


def check_media_type(scope: Scope) -> None:
    """Accept JSON in UTF-8, and a body without a media type.

    Raises:
        MalformedBody: the body has two media types. `Content-Type` is a single field (RFC 9110, 5.3 and 8.3): a proxy
            may have checked the one and the server read the other.
        UnsupportedMediaType.
    """
    types, codings = [], []
    for name, value in scope["headers"]:
        if name == b"content-type":
            types.append(value)
        elif name == b"content-encoding":
            codings.append(value)
    if len(types) > 1:
        detail = "`Content-Type` is in the header twice. Send it once."
        raise MalformedBody(detail)
    if types and not _is_json(types[0].decode("latin-1") or JSON_MEDIA_TYPE):
        detail = "Send the body as `application/json`, in UTF-8."
        raise UnsupportedMediaType(detail)
    if any(coding.decode("latin-1").strip().lower() != IDENTITY for coding in codings):
        detail = "Send the body uncompressed, without `Content-Encoding`."
        raise UnsupportedMediaType(detail)


def _is_json(media_type: str) -> bool:
    """Whether a media type is JSON, without a charset or in UTF-8 (RFC 8259, 8.1)."""
    if media_type == JSON_MEDIA_TYPE:
        return True
    name, *parameters = media_type.lower().split(";")
    charsets = [value.strip(' "') for key, _, value in (each.partition("=") for each in parameters) if _is_charset(key)]
    return name.strip() == JSON_MEDIA_TYPE and all(charset in CHARSETS for charset in charsets)


def _is_charset(name: str) -> bool:
    return name.strip() == "charset"


def decode(body: bytes, decoder: msgspec.json.Decoder[Model]) -> Model:
    """A body of the decoder's type; raises MalformedBody, Invalid."""
    try:
        decoded = decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refusal(body, decoder.type, error) from None
    if not _names_are_unique(body, decoder.type):
        _check_names(body)
    broken = list(decoded.broken_rules())
    if broken:
        raise _invalid(broken)
    return decoded


def _names_are_unique(body: bytes, model: type[Body]) -> bool:
    """Whether the body certainly has no name twice; a quick check that returns False in doubt.

    It holds for an object without nested objects and escapes in which each known name occurs once at most.
    """
    if b"\\" in body or body.count(b"{") != 1:
        return False
    return all(body.count(name) <= 1 for name in _quoted_names(model))


@cache
def _quoted_names(model: type[Body]) -> tuple[bytes, ...]:
    return tuple(b'"%b"' % field.encode_name.encode() for field in msgspec.structs.fields(model))


def _check_names(body: bytes) -> None:
    """Raise MalformedBody if an object has a name twice; JSON parsers differ in which value they use."""
    try:
        json.loads(body, object_pairs_hook=_unique, parse_int=str, parse_float=str)
    except RecursionError:
        raise MalformedBody(NESTED_TOO_DEEPLY) from None


def _unique(members: list[tuple[str, object]]) -> dict[str, object]:
    found = dict(members)
    if len(found) != len(members):
        detail = "An object has the same name twice. Send each name once."
        raise MalformedBody(detail)
    return found


def nfc(text: str) -> str:
    """The stored form of a text: normalized to NFC, without white space around it."""
    return unicodedata.normalize("NFC", text).strip()


def _refusal(body: bytes, model: type[Body], error: Exception) -> MalformedBody | Invalid:
    """The refusal of a body that cannot be decoded, with all of its faults; the decoder stops at the first."""
    try:
        raw = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return MalformedBody("The body is not JSON in UTF-8.")
    except RecursionError:
        return MalformedBody(NESTED_TOO_DEEPLY)
    _check_names(body)
    if not isinstance(raw, dict):
        return _invalid([Broken("", "Expected an object")])
    broken = [*_unknown_fields(raw, model), *_broken_fields(raw, model)]
    # Only the decoder of the whole body found this fault, so its message is used.
    return _invalid(broken or [Broken("", str(error).split(" - at `", 1)[0])])


def _broken_fields(raw: dict[str, Any], model: type[Body]) -> Iterable[Broken]:
    for field in msgspec.structs.fields(model):
        pointer = f"/{field.encode_name}"
        if field.encode_name not in raw:
            if field.required:
                yield Broken(pointer, "is required")
            continue
        try:
            msgspec.convert(raw[field.encode_name], field.type)
        except msgspec.ValidationError as error:
            yield Broken(pointer + _pointer_within(error), _message(error, field.type))


def _unknown_fields(raw: dict[str, Any], model: type[Body]) -> Iterable[Broken]:
    known = {field.encode_name for field in msgspec.structs.fields(model)}
    for name in raw:
        if name not in known:
            yield Broken(pointer_to(name), "unknown_field: there is no such field")


def _pointer_within(error: msgspec.ValidationError) -> str:
    """The JSON pointer of a fault within a field: names of fields and positions of lists, nothing of the request."""
    _, _, path = str(error).partition(" - at `$")
    return re.sub(r"[.\[]", "/", path.rstrip("`")).replace("]", "")


def _message(error: msgspec.ValidationError, expected: object) -> str:
    """The decoder's message without the value of the request."""
    message = str(error).split(" - at `", 1)[0]
    if message.startswith("Invalid enum value"):
        return f"Expected one of {', '.join(_choices(expected))}"
    if message.startswith("Object contains unknown field"):
        return "unknown_field: it has a field that is not known"
    if "matching regex" in message:
        examples = [example for part in _parts(expected) for example in part.get("examples", [])]
        return (
            f"must have the form of `{examples[0]}`"
            if examples
            else "contains characters that are not accepted, or only white space"
        )
    return message


def _choices(expected: object) -> list[str]:
    """The values that an enumeration accepts."""
    return [str(word) for part in _parts(expected) for word in part.get("enum", [])]


def _parts(expected: object) -> list[dict[str, Any]]:
    """The JSON schema of a type, and the schemas that it consists of."""
    schema: dict[str, Any] = msgspec.json.schema(expected)
    return [schema, *schema.get("anyOf", []), *schema.get("$defs", {}).values()]


def pointer_to(name: str) -> str:
    """The JSON pointer (RFC 6901) of a member or parameter named in the request, cut to POINTER_CHARS_MAX."""
    return "/" + name[:POINTER_CHARS_MAX].replace("~", "~0").replace("/", "~1")


def _invalid(broken: list[Broken]) -> Invalid:
    first = broken[0]
    detail = f"{first.pointer or 'The body'}: {first.message}"
    return Invalid(detail, errors=[msgspec.structs.asdict(each) for each in broken])

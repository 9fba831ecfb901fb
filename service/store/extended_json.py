"""Documents that MongoDB holds and JSON does not (contract 3.6): only a hand or a script writes such.

They are rare, so they take the slow road: the driver decodes them, and its relaxed Extended JSON
says what JSON has no word for.
"""

import json
import logging
import math
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any

import orjson
from bson import decode
from bson.codec_options import CodecOptions, DatetimeConversion
from bson.datetime_ms import DatetimeMS
from bson.errors import InvalidBSON
from bson.json_util import RELAXED_JSON_OPTIONS, dumps

from service.bson.transcoding import Place
from service.observability import ODD_DOCUMENTS

# Whatever is no UTF-8 becomes U+FFFD; dates are looked at before they are made.
LENIENT: CodecOptions[dict[str, Any]] = CodecOptions(
    document_class=dict,
    unicode_decode_error_handler="replace",
    datetime_conversion=DatetimeConversion.DATETIME_MS,
)
# Of so many it is known that they were told of.
MAX_TOLD = 10_000

logger = logging.getLogger(__name__)
_told: OrderedDict[tuple[str, str], None] = OrderedDict()


def to_row(
    document: bytes, *, time_field: str, id_suffix: str, names: frozenset[str] | None
) -> tuple[bytes, Place]:
    """JSON and place of a document, as the transcoder makes them of any other.

    A time that is out of range or no date is none; so is an id that is no text. Raises `ValueError`
    where the bytes are no document.
    """
    try:
        fields = decode(document, LENIENT)
    except InvalidBSON as error:
        raise ValueError("a document that is none") from error
    time, stored_id = fields.get(time_field), fields.get("id")
    place = Place(
        int(time) if isinstance(time, DatetimeMS) else None,
        stored_id if isinstance(stored_id, str) else "",
    )
    if isinstance(stored_id, str):
        fields["id"] = stored_id.removesuffix(id_suffix)
    shown = {
        name: _to_json(value) for name, value in fields.items() if names is None or name in names
    }
    return orjson.dumps(shown, option=orjson.OPT_NAIVE_UTC), place


def tell(organization_id: str, stored_id: str) -> None:
    """Count a document that is odd, and log once whose it is and which."""
    ODD_DOCUMENTS.inc()
    which = (organization_id, stored_id)
    if which not in _told:
        logger.warning("odd document", extra={"organization_id": organization_id, "id": stored_id})
    _told[which] = None
    _told.move_to_end(which)
    if len(_told) > MAX_TOLD:
        _told.popitem(last=False)


def _to_json(value: Any) -> Any:
    if isinstance(value, DatetimeMS):
        return _to_date(value)
    if isinstance(value, Mapping):
        return {key: _to_json(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_to_json(inner) for inner in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, int) or type(value) is str:  # code is a text, too
        return value
    return json.loads(dumps(value, json_options=RELAXED_JSON_OPTIONS))


def _to_date(value: DatetimeMS) -> Any:
    try:
        return value.as_datetime(CodecOptions(tz_aware=False))
    except (InvalidBSON, OverflowError, ValueError):
        return None

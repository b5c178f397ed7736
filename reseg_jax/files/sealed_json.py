"""JSON objects that carry a checksum of what they say, so that a flipped bit does not pass unseen.

The checksum is over the content, not over the text: indentation and the order of keys are free.
"""

import hashlib
import json

FIELD = "checksum"


def seal(record: dict) -> dict:
    """`record`, as it comes back from JSON, with its checksum in the field `FIELD`."""
    plain = json.loads(json.dumps({key: record[key] for key in record if key != FIELD}))
    return {**plain, FIELD: _digest(plain)}


def is_whole(record: dict) -> bool:
    """Whether `record`, read from JSON, is what was sealed; False if it has no checksum."""
    return record.get(FIELD) == _digest({key: record[key] for key in record if key != FIELD})


def _digest(plain):
    text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()

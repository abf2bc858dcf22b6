"""The JSON Schema of everything on the wire, as docs/message.schema.json holds it.

python -m hypnostream.bridges.message_schema > docs/message.schema.json
"""

import inspect
import json
import sys

import msgspec

from hypnostream.bridges.messages import SCHEMA, VERSION, Message
from hypnostream.bridges.replay_messages import Reply, Request


def json_schema() -> str:
    """JSON Schema (2020-12): every message at its root, requests and replies as "Request" and "Reply" in $defs."""
    (message, request, reply), definitions = msgspec.json.schema_components(
        (Message, Request, Reply), ref_template="#/$defs/{name}"
    )
    for definition in definitions.values():
        definition["description"] = inspect.cleandoc(definition["description"])
        if "schema" in definition["properties"]:  # has a default here, is always on the wire, and `decode` wants it
            definition["required"] = ["schema", "version", *definition["required"]]
    head = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": f"{SCHEMA} {VERSION}",
        "description": "Body of a Hypnostream message, MessagePack on ZeroMQ. Unknown fields are to be ignored.",
    }
    whole = head | message | {"$defs": definitions | {"Request": request, "Reply": reply}}
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    sys.stdout.write(json_schema())

"""Writes the sample of every event type that has none yet; existing ones are history and are never changed."""

import base64
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from support.samples import SAMPLES

from pawl_shared.codec import encode

for event in SAMPLES:
    path = Path(__file__).parent / "samples" / f"{event.TYPE}.json"
    if not path.exists():
        message = encode(event)
        content = {
            "topic": message.topic,
            "key": (message.key or b"").decode(),
            "headers": {name: value.decode() for name, value in message.headers},
            "value": base64.b64encode(message.value or b"").decode(),
        }
        path.parent.mkdir(exist_ok=True)
        path.write_text(json.dumps(content, indent=1) + "\n")

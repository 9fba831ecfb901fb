from typing import Any

from typing_extensions import disjoint_base

@disjoint_base
class EmbeddedDocument(bytes): ...

def encode(document: dict[str, Any]) -> bytes: ...

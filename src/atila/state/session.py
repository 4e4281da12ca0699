from typing import Any


class Session:
    def __init__(self, was: Any) -> None: ...
    def commit(self) -> list[tuple[bytes, bytes]]:
        return []

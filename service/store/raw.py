"""A document that is BSON already, in the form in which the driver takes it."""

from bson.raw_bson import RawBSONDocument


class RawDocument(RawBSONDocument):
    """A document as BSON, encoded once. The driver asks of it only whether it is empty, for which
    its own class would decode it again."""

    def __bool__(self) -> bool:
        return True

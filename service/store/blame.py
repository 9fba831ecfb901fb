"""Whom an error of MongoDB blames (contract 1.5.5).

A list of what is not a document's fault could never be complete: newer servers, routers and proxies
bring codes that nobody here has seen. So the short list is of what is: codes that say "this document
can never be stored". Names are those of the server's `error_codes.yml`; the two without one there
are of its update code. Codes that blame how a write was asked for, BadValue (2) and FailedToParse
(9), are left out on purpose: an index that a write names and that is missing gives BadValue for
every document. What this list lacks is lost to nobody, for a document that is refused alone becomes
a dead letter in the end.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

DUPLICATE_KEY = 11000
TOO_LARGE = 10334

DOCUMENT_CODES: Mapping[int, str] = MappingProxyType(
    {
        16: "InvalidLength",  # a part of the document states another length than it has
        22: "InvalidBSON",  # the document is no BSON to this server
        52: "DollarPrefixedFieldName",  # a name that begins with `$`, which older servers refuse
        53: "InvalidIdField",  # what this `_id` is cannot be one
        55: "InvalidDBRef",  # `$ref` and `$id` that are no reference
        56: "EmptyFieldName",  # a name without a letter, which older servers refuse
        57: "DottedFieldName",  # a name with a dot, which older servers refuse
        121: "DocumentValidationFailure",  # an operator's validator says no to this document
        357: "InvalidBSONType",  # a value of a kind that this server does not know
        378: "NonConformantBSON",  # BSON that breaks the rules of its kind
        TOO_LARGE: "BSONObjectTooLarge",  # beyond 16 MiB
        17280: "OBSOLETE_KeyTooLong",  # a value that an index of an older server cannot hold
        17419: "a document too large after an update",
        17420: "a document too large to be upserted",
    }
)
TOO_LARGE_CODES = frozenset({TOO_LARGE, 17419, 17420})

# The login itself is refused; a right that is missing (Unauthorized) is not of these.
LOGIN_CODES = frozenset(
    {
        11,  # UserNotFound
        18,  # AuthenticationFailed
        214,  # AuthenticationRestrictionUnmet
        334,  # MechanismUnavailable
        8000,  # Atlas: bad auth
    }
)

# What surely has nothing to do with the document, however long it lasts and whatever else is taken
# meanwhile: the shard of some documents may be away, or a right to update, while others are stored.
# This list need not be complete.
OUTAGE_CODES = LOGIN_CODES | frozenset(
    {
        6,  # HostUnreachable
        7,  # HostNotFound
        13,  # Unauthorized
        24,  # LockTimeout
        31,  # RoleNotFound
        43,  # CursorNotFound
        46,  # LockBusy
        50,  # MaxTimeMSExpired
        63,  # StaleShardVersion
        64,  # WriteConcernTimeout
        70,  # ShardNotFound
        74,  # NodeNotFound
        75,  # WriteConcernLegacyOK
        79,  # UnknownReplWriteConcern
        89,  # NetworkTimeout
        90,  # CallbackCanceled
        91,  # ShutdownInProgress
        94,  # NotYetInitialized
        95,  # NotSecondary
        100,  # UnsatisfiableWriteConcern
        107,  # LockFailed
        112,  # WriteConflict
        117,  # ConflictingOperationInProgress
        133,  # FailedToSatisfyReadPreference
        134,  # ReadConcernMajorityNotAvailableYet
        145,  # PooledConnectionsDropped
        146,  # ExceededMemoryLimit
        149,  # NoConfigPrimary
        150,  # StaleEpoch
        175,  # QueryPlanKilled
        189,  # PrimarySteppedDown
        199,  # ReplicaSetMonitorRemoved
        202,  # NetworkInterfaceExceededTimeLimit
        203,  # ShardingStateNotInitialized
        208,  # TooManyLocks
        215,  # DatabaseDropPending
        216,  # ElectionInProgress
        227,  # CannotImplicitlyCreateCollection
        230,  # DNSHostNotFound
        237,  # CursorKilled
        239,  # SnapshotTooOld
        246,  # SnapshotUnavailable
        249,  # StaleDbVersion
        250,  # StaleChunkHistory
        262,  # ExceededTimeLimit
        264,  # TooManyFilesOpen
        267,  # PreparedTransactionInProgress
        272,  # MigrationConflict
        279,  # ClientDisconnect
        290,  # TransactionExceededLifetimeLimitSeconds
        303,  # SplitHorizonChange
        314,  # ObjectIsBusy
        317,  # ConnectionPoolExpired
        319,  # MovePrimaryInProgress
        333,  # ServiceExecutorInShutdown
        338,  # ReshardCollectionInProgress
        342,  # ReshardingCriticalSectionTimeout
        343,  # ShardCannotRefreshDueToLocksHeld
        355,  # InterruptedDueToStorageChange
        365,  # TemporarilyUnavailable
        371,  # UserWritesBlocked
        372,  # CloseConnectionForShutdownCommand
        384,  # ConnectionError
        391,  # ReauthenticationRequired
        402,  # ResourceExhausted
        404,  # LDAPRoleAcquisitionError
        406,  # MigrationBlockingOperationCoordinatorCleaningUp
        407,  # PooledConnectionAcquisitionExceededTimeLimit
        412,  # UpdatesStillPending
        414,  # AddOrRemoveShardInProgress
        433,  # AdmissionQueueOverflow
        449,  # RateLimitExceeded
        450,  # PooledConnectionAcquisitionRejected
        453,  # InterruptedDueToReshardingCriticalSection
        462,  # IngressRequestRateLimitExceeded
        9001,  # SocketException
        10058,  # LegacyNotPrimary
        10107,  # NotWritablePrimary
        11600,  # InterruptedAtShutdown
        11601,  # Interrupted
        11602,  # InterruptedDueToReplStateChange
        12586,  # BackgroundOperationInProgressForDatabase
        12587,  # BackgroundOperationInProgressForNamespace
        13388,  # StaleConfig
        13435,  # NotPrimaryNoSecondaryOk
        13436,  # NotPrimaryOrSecondary
        14031,  # OutOfDiskSpace
        46841,  # ClientMarkedKilled
        50915,  # BackupCursorOpenConflictWithCheckpoint
        56846,  # ConfigServerUnreachable
        91331,  # RetriableRemoteCommandFailure
        10045600,  # InterruptedDueToFCVChange
    }
)


class Blame(Enum):
    """What a refusal says: `DOCUMENT` never, `OUTAGE` not now, `UNKNOWN` neither."""

    DOCUMENT = auto()
    OUTAGE = auto()
    UNKNOWN = auto()


@dataclass(frozen=True, slots=True)
class WriteFault:
    """Why MongoDB did not do one operation.

    `unique_over` are the fields of the index of which a key is there already (a duplicate key);
    `is_shared` where a whole command was refused, and this operation was not tried alone.
    """

    code: int
    name: str = ""
    unique_over: tuple[str, ...] = ()
    is_shared: bool = False

    @property
    def is_of_id(self) -> bool:
        """A document of this `_id` is there: no refusal, but the answer of a guard."""
        return self.code == DUPLICATE_KEY and self.unique_over == ("_id",)

    @property
    def blame(self) -> Blame:
        if self.code in OUTAGE_CODES or self.is_shared:
            return Blame.OUTAGE
        return Blame.DOCUMENT if self.code in DOCUMENT_CODES else Blame.UNKNOWN

    @property
    def is_too_large(self) -> bool:
        return self.code in TOO_LARGE_CODES

    def __str__(self) -> str:
        text = f"code {self.code} {self.name or DOCUMENT_CODES.get(self.code, '')}".rstrip()
        if self.unique_over:
            text += f": a unique index over {', '.join(self.unique_over)} is not one of ours"
        return text


def to_fault(error: Mapping[str, Any]) -> WriteFault:
    """Of one write error as the server sends it. Its text and values are the document's, and are
    neither kept nor shown."""
    return WriteFault(error["code"], error.get("codeName", ""), _unique_over(error))


def _unique_over(error: Mapping[str, Any]) -> tuple[str, ...]:
    if error["code"] != DUPLICATE_KEY:
        return ()
    if "keyPattern" in error:
        return tuple(error["keyPattern"])
    # Who leaves the pattern out names the index.
    return ("_id",) if " index: _id_ " in str(error.get("errmsg")) else ("?",)

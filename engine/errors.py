"""Every error Graygate raises, branched by who must act.

GraygateError
├── InputError         a file, flag or symbol is wrong; the person who gave it must change it (exit code 2)
│   ├── ConfigError    a configuration file
│   │   └── ModuleError    parameters that a module of the service refused
│   ├── FeedError      a market recording
│   └── EvidenceError  a Parquet file or manifest of the evidence store
├── RefusedError       the request is well formed and not allowed now; the message says what is (exit code 3)
├── ServiceError       the signal service did not answer or refused; retry, then roll back
└── JournalError       the journal cannot be trusted; stop, never guess
"""


class GraygateError(Exception):
    """Base of all errors whose message is a sentence for a person."""

    exit_code = 1


class InputError(GraygateError):
    """Something a person gave is wrong; nothing was applied."""

    exit_code = 2


class ConfigError(InputError):
    """A configuration file cannot be used; the message names file and field."""


class ModuleError(ConfigError):
    """A module of the service refused parameters; `module` names it."""

    def __init__(self, message: str, module: str) -> None:
        super().__init__(message)
        self.module = module


class FeedError(InputError):
    """A market recording cannot be used; the message names the file."""


class EvidenceError(InputError):
    """An evidence file is missing, truncated or changed; the message names it."""


class RefusedError(GraygateError):
    """A well-formed request that the present state does not allow."""

    exit_code = 3


class ServiceError(GraygateError):
    """The signal service did not answer, or refused."""

    exit_code = 4


class JournalError(GraygateError):
    """The journal is damaged; no decision is taken on it."""

    exit_code = 5

"""From a model string to the model: hosted, or inside the process; shared on a board."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final

from pydantic import SecretStr

from flock.engines.local.catalogue import CATALOGUE
from flock.errors import DeclarationError, EngineError

if TYPE_CHECKING:
    from flock.engines.chat import ChatModel

OFFLINE_MODEL: Final = "test"
"""The model that needs no network, key or extra: it samples the output types themselves."""

LOCAL: Final = "local/"
"""What the model strings of models inside the process begin with."""

CLIENT_OPTIONS: Final = frozenset(
    {
        "api_version",
        "azure_ad_token_provider",
        "custom_llm_provider",
        "extra_headers",
        "extra_query",
        "headers",
        "model_type",
        "organization",
        "project",
        "timeout",
    }
)
"""Parameters of the connection rather than of a request."""


def model_for(
    name: str,
    *,
    api_base: str | None = None,
    api_key: SecretStr | str | None = None,
    client: Mapping[str, Any] | None = None,
) -> ChatModel:
    """Return the model that a model string names.

    Args:
        name: `local/NAME` and `local//path/to/model.gguf` for a model inside the process;
            else `provider/name`, as DSPy writes it.
        api_base: Address of a server; the provider's own unless said.
        api_key: The key; from the environment unless given.
        client: Further parameters of the connection.

    Raises:
        DeclarationError: An extra is not installed, the string names no model, or one inside the
            process is given a server.
    """
    if not name.strip() or name.endswith("/"):
        msg = f"{name!r} names no model; write 'provider/name', 'local/name' or {OFFLINE_MODEL!r}"
        raise DeclarationError(msg)
    if name == OFFLINE_MODEL:
        msg = f"the model {name!r} samples types and cannot be asked with messages"
        raise DeclarationError(msg)
    if name.startswith(LOCAL):
        if api_base is not None or api_key is not None:
            given = "api_key" if api_base is None else "api_base"
            msg = f"the model {name!r} runs inside the process and has no server; leave out {given}"
            raise DeclarationError(msg)
        return _local(name)
    if name in CATALOGUE:
        msg = f"{name!r} is a model inside the process; write {LOCAL + name!r}"
        raise DeclarationError(msg)
    from flock.engines.dspy.hosted import HostedModel

    return HostedModel(name, api_base=api_base, api_key=api_key, client=client)


def _local(name: str) -> ChatModel:
    from flock.engines.local.model import LocalModel

    model = LocalModel(name)
    try:
        model.check()  # before anything runs; it does not load it
    except EngineError as error:
        raise DeclarationError(str(error)) from error
    return model


class ModelShelf:
    """The models of a board: each is made once, shared by its agents, and closed with it."""

    def __init__(self) -> None:
        self._models: dict[tuple[object, ...], ChatModel] = {}

    def get(
        self,
        name: str,
        *,
        api_base: str | None = None,
        api_key: SecretStr | str | None = None,
        client: Mapping[str, Any] | None = None,
    ) -> ChatModel:
        """Return the model of these arguments; see `model_for`.

        Raises:
            DeclarationError: An extra is not installed, or the string names no model.
        """
        key_text = api_key.get_secret_value() if isinstance(api_key, SecretStr) else api_key
        options = hash(repr(sorted((client or {}).items())))
        key = (name, api_base, None if key_text is None else hash(key_text), options)
        model = self._models.get(key)
        if model is None:
            model = model_for(name, api_base=api_base, api_key=api_key, client=client)
            self._models[key] = model
        return model

    async def aclose(self) -> None:
        """Close every model; each can be asked again afterwards."""
        async with AsyncExitStack() as steps:  # each is closed, whatever another one does
            for model in self._models.values():
                steps.push_async_callback(model.aclose)

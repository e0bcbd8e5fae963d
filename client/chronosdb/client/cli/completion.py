"""`chronos completion`: the script that completes commands and options in a shell."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from chronosdb.client.cli.output import Output

COMPLETION_VARIABLE: Final = "_CHRONOS_COMPLETE"


#: The control character tells click to keep the lines of a paragraph.
_HELP: Final = """\
Print what makes SHELL complete commands and options.

\b
bash, zsh:  eval "$(chronos completion bash)"        in ~/.bashrc or ~/.zshrc
fish:       chronos completion fish | source         in config.fish
"""


@click.command(help=_HELP)
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """The script itself; `_HELP` is for users."""
    script = get_completion_class(shell)
    assert script is not None
    root = context.find_root().command
    Output().write(script(root, {}, "chronos", COMPLETION_VARIABLE).source())

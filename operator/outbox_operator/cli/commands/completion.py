"""`outbox completion`: what a shell needs to complete verbs, options and names."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from typing import Final

HELP: Final = "print what a shell needs to complete verbs, options and names"

_BASH: Final = """\
_outbox() {
  local IFS=$'\\n'
  COMPREPLY=($(outbox completion words -- "${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null))
}
complete -o default -F _outbox outbox
"""
_ZSH: Final = """\
#compdef outbox
(( ${+functions[compdef]} )) || { autoload -Uz compinit && compinit -i }
_outbox() {
  local -a found
  found=("${(@f)$(outbox completion words -- "${(@)words[2,CURRENT]}" 2>/dev/null)}")
  (( ${#found} )) && compadd -a found
}
compdef _outbox outbox
"""
_FISH: Final = """\
complete -c outbox -f -a '(outbox completion words -- (commandline -opc)[2..] (commandline -ct))'
"""
_SCRIPTS: Final[Mapping[str, str]] = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "shell", choices=(*_SCRIPTS, "words"),
        help="for bash and zsh: source it, as in `source <(outbox completion bash)`; for fish: "
        "pipe it into `source`; words: what may stand in the place of the last word",
    )  # fmt: skip
    parser.add_argument("words", nargs="*", metavar="WORD", help="with words: those typed so far")
    parser.epilog = (
        "`kubectl outbox` is completed by kubectl itself, which finds kubectl_complete-outbox on "
        "the path."
    )


def run(args: argparse.Namespace) -> int:
    """Print it."""
    if args.shell != "words":
        print(_SCRIPTS[args.shell], end="")
        return 0
    from outbox_operator.cli.completion import candidates

    print("\n".join(candidates(args.words)))
    return 0

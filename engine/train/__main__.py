"""Commands of the recipe: see README.md, or `python -m train --help` from the folder above."""

import argparse
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.join(HERE, "..", "..")
TOKENIZER = os.path.join(HERE, "text", "tokenizer.json")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    default = os.path.join(REPOSITORY, ".causeway", "train")
    parser.add_argument("--run", default=os.environ.get("CAUSEWAY_TRAIN_RUN", default), help="the run's folder")
    parser.add_argument("--sources", default=os.environ.get("CAUSEWAY_TRAIN_SOURCES", os.path.join(default, "sources")))
    commands = parser.add_subparsers(dest="command", required=True)
    text = commands.add_parser("text", help="plain text from unpacked Debian packages")
    text.add_argument("unpacked")
    dialogues = commands.add_parser("dialogues", help="dialogues from clones of their repositories")
    dialogues.add_argument("sgd")
    dialogues.add_argument("taskmaster")
    commands.add_parser("tokenizer", help="train the tokenizer anew (text/tokenizer.json)")
    run = commands.add_parser("run", help="begin or resume training")
    run.add_argument("--until", help="HH:MM UTC of today: end then, with a state")
    commands.add_parser("selftest", help="check the recipe")
    export = commands.add_parser("export", help="the run's last state as a model that the engine loads")
    export.add_argument("out")
    commands.add_parser("evaluation", help="write eval/*.jsonl, what npm run eval:model asks")
    compare = commands.add_parser("compare", help="MuonClip against AdamW on the same budget, and the plot")
    compare.add_argument("--tokens", type=int, default=3_000_000)
    compare.add_argument("--until", help="HH:MM UTC of today: end then; the same command goes on")
    return parser.parse_args()


def main() -> int:
    arguments = parse()
    os.makedirs(arguments.run, exist_ok=True)
    match arguments.command:
        case "text":
            from .sources.debian import prepare

            prepare(arguments.unpacked, arguments.sources)
        case "dialogues":
            from .sources.dialogues import prepare

            prepare(arguments.sgd, arguments.taskmaster, arguments.sources)
        case "tokenizer":
            from .make_tokenizer import make_tokenizer

            make_tokenizer(arguments.sources, TOKENIZER)
        case "run":
            from .checkpoint import STATE
            from .loop import run
            from .selftest import selftest

            if not os.path.exists(os.path.join(arguments.run, STATE)) and selftest():
                return 1  # a run of hours does not begin on a recipe that is broken
            run(arguments.run, arguments.sources, TOKENIZER, arguments.until)
        case "selftest":
            from .selftest import selftest

            return selftest()
        case "export":
            from .export import export

            export(arguments.run, arguments.out, TOKENIZER)
        case "evaluation":
            from .evaluation import write_evaluation

            write_evaluation(arguments.sources, TOKENIZER, os.path.join(HERE, "eval"))
        case "compare":
            from .compare import compare

            compare(arguments.run, arguments.sources, TOKENIZER, arguments.tokens, arguments.until)
    return 0


if __name__ == "__main__":
    sys.exit(main())

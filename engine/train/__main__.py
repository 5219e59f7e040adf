"""Commands of the recipe: see README.md, or `python -m train --help` from the folder above."""

import argparse
import os

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.join(HERE, "..", "..")
TOKENIZER = os.path.join(HERE, "text", "tokenizer.json")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m train", description=__doc__)
    default = os.path.join(REPOSITORY, ".causeway", "train")
    parser.add_argument("--run", default=os.environ.get("CAUSEWAY_TRAIN_RUN", default), help="the run's folder")
    parser.add_argument("--sources", default=os.environ.get("CAUSEWAY_TRAIN_SOURCES", os.path.join(default, "sources")))
    commands = parser.add_subparsers(dest="command", required=True)
    train = commands.add_parser("run", help="begin or resume training")
    train.add_argument("--until", help="HH:MM UTC of today: end then, with a state")
    commands.add_parser("tokenizer", help="train the tokenizer anew (text/tokenizer.json)")
    arguments = parser.parse_args()
    os.makedirs(arguments.run, exist_ok=True)
    match arguments.command:
        case "run":
            from .loop import run

            run(arguments.run, arguments.sources, TOKENIZER, arguments.until)
        case "tokenizer":
            from .make_tokenizer import make_tokenizer

            make_tokenizer(arguments.sources, TOKENIZER)


if __name__ == "__main__":
    main()

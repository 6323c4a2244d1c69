"""``python -m attn2trt`` is the command line."""

from .cli.main import main

if __name__ == "__main__":
    try:
        main()
    finally:
        # An interrupt that came while Python executed a text, as dataclasses have it do, would end what -m runs by
        # SIGINT, whatever the exit code. To execute another text takes that back.
        eval("None")

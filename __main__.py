"""``python -m attn2trt`` is the command line."""

from attn2trt.cli.main import main

if __name__ == "__main__":
    main()

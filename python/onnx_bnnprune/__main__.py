"""``python -m onnx_bnnprune`` is the command ``onnx-bnnprune``."""

import sys

from ._command import main

sys.exit(main())

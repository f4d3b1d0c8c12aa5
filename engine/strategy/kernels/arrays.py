"""Names of what kernels take."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

Record = Any
"""One record of a structured array, or a field of one; passed by reference."""

Records = NDArray[Any]
Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

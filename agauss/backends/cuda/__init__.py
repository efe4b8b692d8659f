"""CuPy arrays on the project's own CUDA kernels, *.cuh and kernels.cu, which source.py compiles when first needed."""

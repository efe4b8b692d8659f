"""CuPy arrays on the project's own CUDA kernels. Sources: *.cuh and kernels.cu, compiled when first needed (source.py)."""

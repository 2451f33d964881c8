"""The ground under the CUDA C++: wrappers.cuh, compilation to cubins, their cache, and engines that launch them."""

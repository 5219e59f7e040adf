#!/bin/sh
# The recipe's commands, in one quiet thread. PYTHON has PyTorch and tokenizers; see README.md.
# A large arena keeps the allocator from giving a step's memory back to the system and asking for it again.
export OMP_NUM_THREADS=1 MKL_NUM_THREADS=1 TOKENIZERS_PARALLELISM=false RAYON_NUM_THREADS=1 PYTHONDONTWRITEBYTECODE=1
export MALLOC_ARENA_MAX=1 MALLOC_MMAP_THRESHOLD_=8589934592 MALLOC_TRIM_THRESHOLD_=17179869184 MALLOC_TOP_PAD_=134217728
cd "$(dirname "$0")/.." && exec nice -n 19 "${PYTHON:-python3}" -m train "$@"

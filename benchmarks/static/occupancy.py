"""Occupancy: active warps per multiprocessor over the most that it supports.

Limits: CUDA Programming Guide, appendix "Compute Capabilities", table "Technical Specifications per
Compute Capability" (https://docs.nvidia.com/cuda/cuda-programming-guide/).
Allocation of registers and shared memory: NVIDIA's calculator `cuda_occupancy.h`, which is part of
the CUDA toolkit and of Triton; the tests compare with it.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Multiprocessor:
    """Limits of one multiprocessor.

    Attributes:
        blocks: resident thread blocks.
        warps: resident warps.
        shared: bytes of shared memory.
        reserved: bytes of it that the system reserves per block.
        unit: its allocation granularity, bytes.
    """

    blocks: int
    warps: int
    shared: int
    reserved: int = 1024
    unit: int = 128


KB = 1024
LIMITS = {
    75: Multiprocessor(16, 32, 64 * KB, reserved=0, unit=256),
    80: Multiprocessor(32, 64, 164 * KB),
    86: Multiprocessor(16, 48, 100 * KB),
    89: Multiprocessor(24, 48, 100 * KB),
    90: Multiprocessor(32, 64, 228 * KB),
    100: Multiprocessor(32, 64, 228 * KB),
    120: Multiprocessor(24, 48, 100 * KB),
}
PARTITIONS = 4  # of a multiprocessor; a warp belongs to one of them
REGISTERS = 64 * KB // PARTITIONS  # of 32 bits, per partition
REGISTER_UNIT = 256  # allocation granularity of the registers of a warp


@dataclass(frozen=True)
class Occupancy:
    """Occupancy of a kernel.

    Attributes:
        blocks: resident blocks per multiprocessor; 0 if one does not fit.
        share: resident warps over the most possible, 0 to 1.
        limit: what limits it: "registers", "shared memory", or "none" at the hardware's limit.
    """

    blocks: int
    share: float
    limit: str


def occupancy(architecture: int, registers: int, shared: int, warps: int) -> Occupancy:
    """Occupancy of a kernel with this resource usage.

    Args:
        architecture: compute capability, 89 for 8.9; one of `LIMITS`.
        registers: of 32 bits, per thread; 0 to 255.
        shared: bytes of shared memory per block.
        warps: per block, 1 to 32.

    Raises:
        ValueError: an architecture that is not in `LIMITS`, or usage that no kernel can have.
    """
    if architecture not in LIMITS:
        raise ValueError(
            f"no limits are known for sm_{architecture}; "
            f"choose from {', '.join(f'sm_{a}' for a in LIMITS)}"
        )
    if not (0 <= registers <= 255 and 1 <= warps <= 32 and shared >= 0):
        raise ValueError(
            f"no kernel has {registers} registers per thread, {shared} bytes of shared memory "
            f"and {warps} warps per block"
        )
    has = LIMITS[architecture]
    hardware = min(has.blocks, has.warps // warps)
    a_warp = -(-registers * 32 // REGISTER_UNIT) * REGISTER_UNIT
    by_registers = hardware if a_warp == 0 else REGISTERS // a_warp * PARTITIONS // warps
    a_block = -(-(shared + has.reserved) // has.unit) * has.unit
    by_shared = hardware if a_block == 0 else has.shared // a_block
    blocks = min(hardware, by_registers, by_shared)
    limit = (
        "none" if blocks == hardware else "registers" if blocks == by_registers else "shared memory"
    )
    return Occupancy(blocks, blocks * warps / has.warps, limit)

//! Copies of memory for programs that are linked with musl on x86_64.
//!
//! musl's `memcpy` for this processor is one string instruction, which takes some 30 cycles to begin. Most copies here are of
//! a name, a header or a small message, and take less time than that. These functions replace it in the whole program.
//! `memmove` is replaced as well, because musl's refers to a part of its `memcpy`, and the linker would take both.

#![expect(unsafe_code, reason = "functions of the C library")]
#![expect(clippy::too_many_lines, reason = "a line is an instruction")]

use std::arch::naked_asm;
use std::ffi::c_void;

/// Copies `length` bytes, which may overlap.
///
/// Up to 128 bytes, all are read before the first is written. Above, the bytes of one end are read first and written last,
/// so that the loop needs no remainder.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memmove(to: *mut c_void, from: *const c_void, length: usize) -> *mut c_void {
    naked_asm!(
        "mov rax, rdi",
        "cmp rdx, 16",
        "jb 20f",
        "movups xmm0, [rsi]",
        "movups xmm1, [rsi + rdx - 16]",
        "cmp rdx, 32",
        "ja 10f",
        "movups [rdi], xmm0",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        // 33 to 64
        "10:",
        "movups xmm2, [rsi + 16]",
        "movups xmm3, [rsi + rdx - 32]",
        "cmp rdx, 64",
        "ja 11f",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm2",
        "movups [rdi + rdx - 32], xmm3",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        // 65 to 128
        "11:",
        "movups xmm4, [rsi + 32]",
        "movups xmm5, [rsi + 48]",
        "movups xmm6, [rsi + rdx - 64]",
        "movups xmm7, [rsi + rdx - 48]",
        "cmp rdx, 128",
        "ja 12f",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm2",
        "movups [rdi + 32], xmm4",
        "movups [rdi + 48], xmm5",
        "movups [rdi + rdx - 64], xmm6",
        "movups [rdi + rdx - 48], xmm7",
        "movups [rdi + rdx - 32], xmm3",
        "movups [rdi + rdx - 16], xmm1",
        "ret",
        // More. The first 64 bytes are in 0, 2, 4, 5, the last 64 in 6, 7, 3, 1.
        "12:",
        "mov rcx, rdi",
        "sub rcx, rsi",
        "cmp rcx, rdx",
        "jb 15f",
        "neg rcx",
        "cmp rcx, rdx",
        "jb 13f",
        "cmp rdx, 2048",
        "jae 16f",
        // Forwards.
        "13:",
        "lea r8, [rdi + rdx - 64]",
        "14:",
        "movups xmm0, [rsi]",
        "movups xmm2, [rsi + 16]",
        "movups xmm4, [rsi + 32]",
        "movups xmm5, [rsi + 48]",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm2",
        "movups [rdi + 32], xmm4",
        "movups [rdi + 48], xmm5",
        "add rsi, 64",
        "add rdi, 64",
        "cmp rdi, r8",
        "jb 14b",
        "movups [r8], xmm6",
        "movups [r8 + 16], xmm7",
        "movups [r8 + 32], xmm3",
        "movups [r8 + 48], xmm1",
        "ret",
        // Backwards, because the target begins within the source.
        "15:",
        "movups xmm6, [rsi + rdx - 64]",
        "movups xmm7, [rsi + rdx - 48]",
        "movups xmm3, [rsi + rdx - 32]",
        "movups xmm1, [rsi + rdx - 16]",
        "movups [rdi + rdx - 64], xmm6",
        "movups [rdi + rdx - 48], xmm7",
        "movups [rdi + rdx - 32], xmm3",
        "movups [rdi + rdx - 16], xmm1",
        "sub rdx, 64",
        "cmp rdx, 64",
        "ja 15b",
        "movups [rdi], xmm0",
        "movups [rdi + 16], xmm2",
        "movups [rdi + 32], xmm4",
        "movups [rdi + 48], xmm5",
        "ret",
        // Many that do not overlap. The string instruction is quickest from an aligned target on, so that the first 16
        // bytes are written before and the last 16 after it.
        "16:",
        "movups [rdi], xmm0",
        "lea r8, [rdi + rdx - 16]",
        "lea rcx, [rdi + 16]",
        "and rcx, -16",
        "sub rcx, rdi",
        "add rdi, rcx",
        "add rsi, rcx",
        "mov rcx, rdx",
        "add rcx, rax",
        "sub rcx, rdi",
        "shr rcx, 3",
        "rep movsq",
        "movups [r8], xmm1",
        "ret",
        // 8 to 15
        "20:",
        "cmp edx, 8",
        "jb 21f",
        "mov rcx, [rsi]",
        "mov r8, [rsi + rdx - 8]",
        "mov [rdi], rcx",
        "mov [rdi + rdx - 8], r8",
        "ret",
        // 4 to 7
        "21:",
        "cmp edx, 4",
        "jb 22f",
        "mov ecx, [rsi]",
        "mov r8d, [rsi + rdx - 4]",
        "mov [rdi], ecx",
        "mov [rdi + rdx - 4], r8d",
        "ret",
        // 2 or 3
        "22:",
        "cmp edx, 2",
        "jb 23f",
        "movzx ecx, word ptr [rsi]",
        "movzx r8d, byte ptr [rsi + rdx - 1]",
        "mov [rdi], cx",
        "mov [rdi + rdx - 1], r8b",
        "ret",
        "23:",
        "test edx, edx",
        "jz 24f",
        "movzx ecx, byte ptr [rsi]",
        "mov [rdi], cl",
        "24:",
        "ret",
    )
}

/// Copies `length` bytes, which do not overlap.
#[unsafe(naked)]
#[unsafe(no_mangle)]
unsafe extern "C" fn memcpy(to: *mut c_void, from: *const c_void, length: usize) -> *mut c_void {
    naked_asm!("jmp {}", sym memmove)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What copying within `bytes` gives.
    fn expected(bytes: &[u8], from: usize, to: usize, length: usize) -> Vec<u8> {
        let source = bytes[from..from + length].to_vec();
        let mut copied = bytes.to_vec();
        copied.splice(to..to + length, source);
        copied
    }

    fn sample(length: usize) -> Vec<u8> {
        (0..length).map(|index| (index as u8) ^ (index >> 8) as u8).collect()
    }

    #[test]
    fn every_length_arrives_and_nothing_beside_it_changes() {
        for length in (0..700).chain([2047, 2048, 2049, 2063, 4096, 65536, 65543]) {
            for shift in [0, 1, 7, 15] {
                let source = sample(length + 32);
                let mut target = vec![0xaa; length + 64];
                // SAFETY: both are longer than what is copied from and to these places.
                let place = unsafe {
                    memcpy(target.as_mut_ptr().add(16 + shift).cast(), source.as_ptr().add(shift).cast(), length)
                };
                assert_eq!(place.cast_const().cast(), target[16 + shift..].as_ptr());
                assert_eq!(target[16 + shift..][..length], source[shift..][..length], "{length} bytes");
                assert!(target[..16 + shift].iter().all(|&byte| byte == 0xaa), "{length} bytes");
                assert!(target[16 + shift + length..].iter().all(|&byte| byte == 0xaa), "{length} bytes");
            }
        }
    }

    #[test]
    fn bytes_that_overlap_arrive() {
        for length in (0..400).chain([2048, 2500, 70000]) {
            for distance in [0, 1, 3, 8, 15, 16, 17, 63, 64, 65, 127, 129, 500, 2100] {
                for (from, to) in [(0, distance), (distance, 0)] {
                    let mut bytes = sample(length + distance + 16);
                    let expected = expected(&bytes, from, to, length);
                    let place = bytes.as_mut_ptr();
                    // SAFETY: both ranges are within `bytes`.
                    unsafe { memmove(place.add(to).cast(), place.add(from).cast(), length) };
                    assert!(bytes == expected, "{length} bytes from {from} to {to}");
                }
            }
        }
    }
}

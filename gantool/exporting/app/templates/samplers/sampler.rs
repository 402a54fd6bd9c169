//! Latents of a seed: the random generator `squares32-table16/1`, the same bits as gantool.runtime. No dependency.
//!
//!     let sampler = Sampler::new(include_bytes!("normals.f32"));
//!     let z = sampler.normals(7, 0, 100); // z of image 0 of seed 7, 100 numbers

const FIRST: u64 = 0xC58E_FD15_4CE3_2F6D;

pub struct Sampler {
    table: Vec<f32>,
}

impl Sampler {
    /// `normals`: the bytes of normals.f32, 65,536 little-endian floats.
    pub fn new(normals: &[u8]) -> Self {
        assert_eq!(normals.len(), 4 * 65536, "normals.f32 has 262,144 bytes");
        let table = normals.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        Sampler { table }
    }

    /// The normals of image `index` of a seed; index < 2^47, 1 ≤ size ≤ 262144. Several latents of a generator share
    /// them: they are cut in the order of its inputs.
    pub fn normals(&self, seed: i64, index: u64, size: usize) -> Vec<f32> {
        let count = (size + 1) / 2;
        let (key, stride) = (key(seed), if count <= 65536 { 65536 } else { 131072 });
        let mut made = vec![0.0; size];
        for j in 0..count {
            let bits = bits(key, index.wrapping_mul(stride).wrapping_add(j as u64));
            made[j] = self.table[(bits >> 16) as usize];
            if count + j < size {
                made[count + j] = self.table[(bits & 65535) as usize];
            }
        }
        made
    }
}

/// The odd key of a seed.
pub fn key(seed: i64) -> u64 {
    let y = (seed as u64).wrapping_mul(FIRST);
    let z = y.wrapping_add(FIRST);
    let t = square(three_rounds(y, z), z);
    t.wrapping_add(square(t.rotate_left(32), y) >> 32) | 1
}

/// The 32 bits of a counter.
pub fn bits(key: u64, counter: u64) -> u32 {
    let y = counter.wrapping_mul(key);
    let z = y.wrapping_add(key);
    (square(three_rounds(y, z), z) >> 32) as u32
}

fn three_rounds(y: u64, z: u64) -> u64 {
    let x = square(y, y).rotate_left(32);
    let x = square(x, z).rotate_left(32);
    square(x, y).rotate_left(32)
}

fn square(x: u64, more: u64) -> u64 {
    x.wrapping_mul(x).wrapping_add(more)
}

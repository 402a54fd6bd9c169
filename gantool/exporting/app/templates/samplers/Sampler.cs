// Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime. C# 7, for Unity too.
//
//     var sampler = new Sampler(File.ReadAllBytes("normals.f32"));
//     float[] z = sampler.Normals(7, 0, 100);  // z of image 0 of seed 7, 100 numbers

using System;

public sealed class Sampler {
    private const ulong First = 0xC58EFD154CE32F6DUL;
    private readonly float[] table = new float[65536];

    /// <param name="normals">The bytes of normals.f32, 65,536 little-endian floats.</param>
    public Sampler(byte[] normals) {
        if (normals.Length != 4 * table.Length) throw new ArgumentException("normals.f32 has 262,144 bytes");
        Buffer.BlockCopy(normals, 0, table, 0, normals.Length);
    }

    /// <summary>The odd key of a seed.</summary>
    public static ulong Key(long seed) {
        unchecked {
            ulong y = (ulong)seed * First, z = y + First;
            ulong x = Turn(y * y + y);
            x = Turn(x * x + z);
            x = Turn(x * x + y);
            ulong t = x * x + z;
            x = Turn(t);
            return (t + ((x * x + y) >> 32)) | 1;
        }
    }

    /// <summary>The 32 bits of a counter.</summary>
    public static uint Bits(ulong key, ulong counter) {
        unchecked {
            ulong y = counter * key, z = y + key;
            ulong x = Turn(y * y + y);
            x = Turn(x * x + z);
            x = Turn(x * x + y);
            return (uint)((x * x + z) >> 32);
        }
    }

    /// <summary>
    /// The normals of image <paramref name="index"/> of a seed; 0 ≤ index &lt; 2^47, 1 ≤ size ≤ 262144. Several latents of
    /// a generator share them: they are cut in the order of its inputs.
    /// </summary>
    public float[] Normals(long seed, long index, int size) {
        var made = new float[size];
        int count = (size + 1) / 2;
        ulong key = Key(seed), start = (ulong)index * (count <= 65536 ? 65536UL : 131072UL);
        for (int j = 0; j < count; j++) {
            uint bits = Bits(key, start + (ulong)j);
            made[j] = table[bits >> 16];
            if (count + j < size) made[count + j] = table[bits & 65535];
        }
        return made;
    }

    private static ulong Turn(ulong x) => (x >> 32) | (x << 32);
}

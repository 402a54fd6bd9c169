// Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime. Java 8, for Android too.
//
//     Sampler sampler = new Sampler(Files.readAllBytes(Paths.get("normals.f32")));
//     float[] z = sampler.normals(7, 0, 100);  // z of image 0 of seed 7, 100 numbers

import java.nio.ByteBuffer;
import java.nio.ByteOrder;

public final class Sampler {
    private static final long FIRST = 0xC58EFD154CE32F6DL;
    private final float[] table = new float[65536];

    /** @param normals the bytes of normals.f32, 65,536 little-endian floats */
    public Sampler(byte[] normals) {
        if (normals.length != 4 * table.length) throw new IllegalArgumentException("normals.f32 has 262,144 bytes");
        ByteBuffer.wrap(normals).order(ByteOrder.LITTLE_ENDIAN).asFloatBuffer().get(table);
    }

    /** The odd key of a seed; its bits are those of an unsigned number. */
    public static long key(long seed) {
        long y = seed * FIRST, z = y + FIRST;
        long x = turn(y * y + y);
        x = turn(x * x + z);
        x = turn(x * x + y);
        long t = x * x + z;
        x = turn(t);
        return (t + ((x * x + y) >>> 32)) | 1;
    }

    /** The 32 bits of a counter. */
    public static int bits(long key, long counter) {
        long y = counter * key, z = y + key;
        long x = turn(y * y + y);
        x = turn(x * x + z);
        x = turn(x * x + y);
        return (int) ((x * x + z) >>> 32);
    }

    /**
     * The normals of image {@code index} of a seed; 0 ≤ index &lt; 2^47, 1 ≤ size ≤ 262144. Several latents of a generator
     * share them: they are cut in the order of its inputs.
     */
    public float[] normals(long seed, long index, int size) {
        float[] made = new float[size];
        int count = (size + 1) / 2;
        long key = key(seed), start = index * (count <= 65536 ? 65536 : 131072);
        for (int j = 0; j < count; j++) {
            int bits = bits(key, start + j);
            made[j] = table[bits >>> 16];
            if (count + j < size) made[count + j] = table[bits & 65535];
        }
        return made;
    }

    private static long turn(long x) {
        return (x >>> 32) | (x << 32);
    }
}

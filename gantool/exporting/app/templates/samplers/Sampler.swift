// Latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime.
//
//     let sampler = Sampler(normals: try Data(contentsOf: url))  // of normals.f32
//     let z = sampler.normals(seed: 7, index: 0, size: 100)  // z of image 0 of seed 7, 100 numbers

import Foundation

public struct Sampler {
    private static let first: UInt64 = 0xC58E_FD15_4CE3_2F6D
    private let table: [Float]

    /// `normals`: the bytes of normals.f32, 65,536 little-endian floats.
    public init(normals: Data) {
        precondition(normals.count == 4 * 65536, "normals.f32 has 262,144 bytes")
        let bytes = [UInt8](normals)
        table = (0..<65536).map { i in
            Float(bitPattern: (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[4 * i + $1]) << UInt32(8 * $1) })
        }
    }

    /// The odd key of a seed.
    public static func key(_ seed: Int64) -> UInt64 {
        let y = UInt64(bitPattern: seed) &* first, z = y &+ first
        let t = square(threeRounds(y, z), z)
        return (t &+ (square(turn(t), y) >> 32)) | 1
    }

    /// The 32 bits of a counter.
    public static func bits(key: UInt64, counter: UInt64) -> UInt32 {
        let y = counter &* key, z = y &+ key
        return UInt32(truncatingIfNeeded: square(threeRounds(y, z), z) >> 32)
    }

    /// The normals of image `index` of a seed; index < 2^47, 1 ≤ size ≤ 262144. Several latents of a generator share
    /// them: they are cut in the order of its inputs.
    public func normals(seed: Int64, index: UInt64, size: Int) -> [Float] {
        let count = (size + 1) / 2
        let key = Sampler.key(seed), start = index &* (count <= 65536 ? 65536 : 131072)
        var made = [Float](repeating: 0, count: size)
        for j in 0..<count {
            let bits = Sampler.bits(key: key, counter: start &+ UInt64(j))
            made[j] = table[Int(bits >> 16)]
            if count + j < size { made[count + j] = table[Int(bits & 65535)] }
        }
        return made
    }

    private static func threeRounds(_ y: UInt64, _ z: UInt64) -> UInt64 {
        let x = turn(square(turn(square(y, y)), z))
        return turn(square(x, y))
    }

    private static func square(_ x: UInt64, _ more: UInt64) -> UInt64 { x &* x &+ more }

    private static func turn(_ x: UInt64) -> UInt64 { (x >> 32) | (x << 32) }
}

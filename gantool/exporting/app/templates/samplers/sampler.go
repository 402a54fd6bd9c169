// Package sampler draws the latents of a seed: the random generator squares32-table16/1, the same bits as gantool.runtime.
//
//	table, err := sampler.Table(bytes) // of normals.f32
//	z := sampler.Normals(table, 7, 0, 100) // z of image 0 of seed 7, 100 numbers
package sampler

import (
	"encoding/binary"
	"errors"
	"math"
	"math/bits"
)

const first uint64 = 0xC58EFD154CE32F6D

// Table reads the 65,536 little-endian floats of normals.f32.
func Table(normals []byte) ([]float32, error) {
	if len(normals) != 4*65536 {
		return nil, errors.New("normals.f32 has 262,144 bytes")
	}
	table := make([]float32, 65536)
	for i := range table {
		table[i] = math.Float32frombits(binary.LittleEndian.Uint32(normals[4*i:]))
	}
	return table, nil
}

// Key gives the odd key of a seed.
func Key(seed int64) uint64 {
	y := uint64(seed) * first
	z := y + first
	x := threeRounds(y, z)
	t := x*x + z
	x = bits.RotateLeft64(t, 32)
	return (t + (x*x+y)>>32) | 1
}

// Bits gives the 32 bits of a counter.
func Bits(key, counter uint64) uint32 {
	y := counter * key
	z := y + key
	x := threeRounds(y, z)
	return uint32((x*x + z) >> 32)
}

// Normals gives the numbers of image index of a seed; index < 2^47, 1 <= size <= 262144. Several latents of a generator
// share them: they are cut in the order of its inputs.
func Normals(table []float32, seed int64, index uint64, size int) []float32 {
	made := make([]float32, size)
	count := (size + 1) / 2
	key, stride := Key(seed), uint64(65536)
	if count > 65536 {
		stride = 131072
	}
	for j := 0; j < count; j++ {
		drawn := Bits(key, index*stride+uint64(j))
		made[j] = table[drawn>>16]
		if count+j < size {
			made[count+j] = table[drawn&65535]
		}
	}
	return made
}

func threeRounds(y, z uint64) uint64 {
	x := bits.RotateLeft64(y*y+y, 32)
	x = bits.RotateLeft64(x*x+z, 32)
	return bits.RotateLeft64(x*x+y, 32)
}

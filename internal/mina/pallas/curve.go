package pallas

// Affine is a point of the curve y² = x³ + 5 other than the neutral one. Equal points are ==. The zero value is no point.
type Affine struct{ X, Y Fp }

// AffineFromX gives the point with that x whose y, as an integer from 0 to p−1, is odd or even as asked. It reports false
// where the curve has no point with that x.
func AffineFromX(x Fp, odd bool) (Affine, bool) {
	y, ok := x.Square().Mul(x).Add(fpFive).Sqrt()
	if !ok {
		return Affine{}, false
	}
	if y.IsOdd() != odd {
		y = y.Neg()
	}
	return Affine{x, y}, true
}

// Generator gives the point G by which public keys are made.
func Generator() Affine { return generatorMultiples[0] }

// Point is any point of the curve, the neutral one included, in homogeneous coordinates: x = X/Z and y = Y/Z. Many coordinates
// stand for one point, so == does not compare points. The zero value is no point.
type Point struct{ x, y, z Fp }

// neutral is the point that adds nothing.
func neutral() Point { return Point{y: fpOne} }

// point gives the same point in homogeneous coordinates.
func (a Affine) point() Point { return Point{a.X, a.Y, fpOne} }

// Affine gives the same point in affine coordinates. It reports false for the neutral point, which has none.
func (p Point) Affine() (Affine, bool) {
	if p.z == (Fp{}) {
		return Affine{}, false
	}
	inverse := p.z.Inverse()
	return Affine{p.x.Mul(inverse), p.y.Mul(inverse)}, true
}

// neg gives −p.
func (p Point) neg() Point { return Point{p.x, p.y.Neg(), p.z} }

// add gives p+q for any two points, equal, opposite and neutral ones included: formulas of Renes, Costello and Batina, "Complete
// addition formulas for prime order elliptic curves" (2016), algorithm 7, with 3·5 for their 3b.
func (p Point) add(q Point) Point {
	xx := p.x.Mul(q.x)
	yy := p.y.Mul(q.y)
	zz := p.z.Mul(q.z)
	xy := p.x.Add(p.y).Mul(q.x.Add(q.y)).Sub(xx).Sub(yy) // p.x·q.y + p.y·q.x
	yz := p.y.Add(p.z).Mul(q.y.Add(q.z)).Sub(yy).Sub(zz)
	xz := p.x.Add(p.z).Mul(q.x.Add(q.z)).Sub(xx).Sub(zz)

	xx3 := xx.Add(xx).Add(xx)
	zz15 := zz.times15()
	xz15 := xz.times15()
	minus, plus := yy.Sub(zz15), yy.Add(zz15)
	return Point{
		x: xy.Mul(minus).Sub(yz.Mul(xz15)),
		y: minus.Mul(plus).Add(xx3.Mul(xz15)),
		z: yz.Mul(plus).Add(xx3.Mul(xy)),
	}
}

// double gives 2·p for any point: algorithm 9 of the same paper.
func (p Point) double() Point {
	xy := p.x.Mul(p.y)
	yy := p.y.Square()
	yz := p.y.Mul(p.z)
	zz15 := p.z.Square().times15()

	zz45 := zz15.Add(zz15).Add(zz15)
	minus, plus := yy.Sub(zz45), yy.Add(zz15)
	yy8 := yy.Add(yy)
	yy8 = yy8.Add(yy8)
	yy8 = yy8.Add(yy8)
	x := xy.Mul(minus)
	return Point{
		x: x.Add(x),
		y: minus.Mul(plus).Add(yy8.Mul(zz15)),
		z: yy8.Mul(yz),
	}
}

//! One scan of a JPEG, block by block.

use std::ops::Range;

use super::{
    entropy::{Bits, Trouble},
    tables::Tables,
};

/// A component of the picture: a plane of blocks.
pub(super) struct Component {
    id: u8,
    /// Blocks in each unit of an interleaved scan.
    in_unit: usize,
    /// Blocks in a scan of its own.
    pub(super) blocks: usize,
    /// Coefficients, by bit, whose last bit has come.
    whole: u64,
    /// Coefficients of each block that are not 0, by bit; only of progressive pictures, whose
    /// later scans have a bit for each of them.
    nonzero: Vec<u64>,
}

impl Component {
    pub(super) fn new(id: u8, in_unit: usize, blocks: usize, progressive: bool) -> Self {
        Self {
            id,
            in_unit,
            blocks,
            whole: 0,
            nonzero: vec![0; if progressive { blocks } else { 0 }],
        }
    }

    /// Whether all coefficients have come with all of their bits.
    pub(super) fn is_whole(&self) -> bool {
        self.whole == u64::MAX
    }
}

/// What a scan holds of one component.
pub(super) struct Part {
    /// Index of the component.
    pub(super) component: usize,
    dc_table: usize,
    ac_table: usize,
    /// Blocks in each unit.
    blocks: usize,
}

/// How the coefficients of a scan are coded (T.81, annexes F and G).
#[derive(Clone, Copy)]
enum Coding {
    Sequential,
    DcFirst,
    DcRefining,
    AcFirst,
    AcRefining,
}

/// The header of a scan.
pub(super) struct Scan {
    pub(super) parts: Vec<Part>,
    coding: Coding,
    /// First and last coefficient.
    band: [u32; 2],
    /// Bits of each coefficient that are left for later scans.
    later_bits: u8,
}

/// What stopped a walk, in which unit.
pub(super) struct Failure {
    pub(super) trouble: Trouble,
    pub(super) unit: usize,
}

impl Scan {
    /// `None` for a header that makes no sense; decoders refuse it.
    pub(super) fn parse(
        header: &[u8],
        progressive: bool,
        components: &[Component],
    ) -> Option<Self> {
        let (&count, rest) = header.split_first()?;
        let (selectors, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let &[first, last, approximation, ..] = rest else {
            return None;
        };
        let alone = count == 1;
        let parts = selectors
            .as_chunks::<2>()
            .0
            .iter()
            .map(|&[id, tables]| {
                let component = components.iter().position(|c| c.id == id)?;
                Some(Part {
                    component,
                    dc_table: usize::from(tables >> 4),
                    ac_table: usize::from(tables & 15),
                    blocks: if alone {
                        1
                    } else {
                        components[component].in_unit
                    },
                })
            })
            .collect::<Option<Vec<_>>>()?;
        let coding = match (progressive, first, approximation >> 4) {
            (false, ..) => Coding::Sequential,
            (true, 0, 0) => Coding::DcFirst,
            (true, 0, _) => Coding::DcRefining,
            (true, _, 0) => Coding::AcFirst,
            (true, ..) => Coding::AcRefining,
        };
        let band = if progressive { [first, last] } else { [0, 63] };
        // Only scans of DC may be interleaved.
        let valid = band[0] <= band[1] && band[1] < 64 && (!progressive || alone || first == 0);
        (valid && !parts.is_empty()).then(|| Self {
            parts,
            coding,
            band: band.map(u32::from),
            later_bits: if progressive { approximation & 15 } else { 0 },
        })
    }

    /// Passes over the blocks of some units, between two restarts.
    pub(super) fn walk(
        &self,
        units: Range<usize>,
        bits: &mut Bits<'_>,
        tables: &Tables,
        components: &mut [Component],
    ) -> Result<(), Failure> {
        let mut end_of_band = 0;
        for unit in units {
            for part in &self.parts {
                for _ in 0..part.blocks {
                    self.block(unit, part, bits, tables, components, &mut end_of_band)
                        .map_err(|trouble| Failure { trouble, unit })?;
                }
            }
        }
        Ok(())
    }

    fn block(
        &self,
        unit: usize,
        part: &Part,
        bits: &mut Bits<'_>,
        tables: &Tables,
        components: &mut [Component],
        end_of_band: &mut u32,
    ) -> Result<(), Trouble> {
        let ac = || tables.ac(part.ac_table).ok_or(Trouble::Invalid);
        let dc = || tables.dc(part.dc_table).ok_or(Trouble::Invalid);
        let [first, last] = self.band;
        // Scans of AC are never interleaved, so that units are blocks.
        let nonzero = components[part.component].nonzero.get_mut(unit);
        match (self.coding, nonzero) {
            (Coding::Sequential, _) => {
                let length = bits.symbol(dc()?)?;
                bits.skip(u32::from(length.min(16)))?;
                let ac = ac()?;
                let mut k = 1;
                while k < 64 {
                    match split(bits.symbol(ac)?) {
                        (15, 0) => k += 16,
                        (_, 0) => break,
                        (run, length) => {
                            k += run + 1;
                            if k > 64 {
                                return Err(Trouble::Invalid);
                            }
                            bits.skip(length)?;
                        }
                    }
                }
            }
            (Coding::DcFirst, _) => {
                let length = bits.symbol(dc()?)?;
                bits.skip(u32::from(length.min(16)))?;
            }
            (Coding::DcRefining, _) => bits.skip(1)?,
            (Coding::AcFirst, Some(nonzero)) => {
                if *end_of_band > 0 {
                    *end_of_band -= 1;
                    return Ok(());
                }
                let ac = ac()?;
                let mut k = first;
                while k <= last {
                    match split(bits.symbol(ac)?) {
                        (15, 0) => k += 16,
                        (run, 0) => {
                            *end_of_band = (1 << run) - 1 + bits.read(run)?;
                            break;
                        }
                        (run, length) => {
                            k += run;
                            if k > 63 {
                                return Err(Trouble::Invalid);
                            }
                            bits.skip(length)?;
                            *nonzero |= 1 << k;
                            k += 1;
                        }
                    }
                }
            }
            (Coding::AcRefining, Some(nonzero)) => {
                let ac = ac()?;
                let mut k = first;
                while *end_of_band == 0 && k <= last {
                    let (mut run, length) = split(bits.symbol(ac)?);
                    match (run, length) {
                        (15, 0) => {}
                        (_, 0) => {
                            *end_of_band = (1 << run) + bits.read(run)?;
                            break;
                        }
                        _ => bits.skip(1)?,
                    }
                    // Over so many zeros, and a bit for each that is none.
                    while k <= last {
                        if *nonzero >> k & 1 == 1 {
                            bits.skip(1)?;
                        } else if run == 0 {
                            break;
                        } else {
                            run -= 1;
                        }
                        k += 1;
                    }
                    if length > 0 && k <= last {
                        *nonzero |= 1 << k;
                    }
                    k += 1;
                }
                if *end_of_band > 0 {
                    for k in k..=last {
                        bits.skip((*nonzero >> k & 1) as u32)?;
                    }
                    *end_of_band -= 1;
                }
            }
            (Coding::AcFirst | Coding::AcRefining, None) => return Err(Trouble::Invalid),
        }
        Ok(())
    }

    /// Notes what the scan has brought.
    pub(super) fn refine(&self, components: &mut [Component]) {
        let [first, last] = self.band;
        let band = (u64::MAX >> (63 - last + first)) << first;
        for part in &self.parts {
            if self.later_bits == 0 {
                components[part.component].whole |= band;
            }
        }
    }
}

/// Run and length of a symbol.
fn split(symbol: u8) -> (u32, u32) {
    (u32::from(symbol >> 4), u32::from(symbol & 15))
}

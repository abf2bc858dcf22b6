"""Which conditioner a stream needs: filtered and resampled where samples come evenly, held where they do not."""

from collections.abc import Sequence

from hypnostream.stream.channels import Derivation
from hypnostream.stream.conditioning import StreamConditioner
from hypnostream.stream.irregular import IrregularConditioner, steady
from hypnostream.stream.source import StreamInfo

# Both take the same calls; `StreamConditioner` says what each means.
Conditioner = StreamConditioner | IrregularConditioner


def conditioner_for(
    info: StreamInfo, derivations: Sequence[Derivation], spec_indices: Sequence[int], t0_s: float, first_second: int = 0
) -> Conditioner:
    """The conditioner of one stream, with the usual settings; its seconds begin with `first_second`.

    Raises UserError for a rate that is none, ValueError for derivations of another stream.
    """
    if steady(info):
        return StreamConditioner(info, derivations, spec_indices, t0_s, first_second=first_second)
    return IrregularConditioner(info, derivations, spec_indices, t0_s, first_second=first_second)

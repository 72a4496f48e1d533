"""Diagnostics of panel 1: prompts and responses."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.synthesis.contrast import (
    AlignmentPotential,
    AlwaysOrNeverSolved,
    GroupsWithoutSpread,
    MarginEntropy,
    NoContrast,
    PairsWithoutMargin,
    UniqueAnswers,
    WidestMargins,
)
from triptych.audit.synthesis.diversity import (
    ClusterEntropy,
    DistinctBigrams,
    EmbeddedSiblingCosine,
    NearDuplicateSiblings,
    SiblingCosine,
    VendiShare,
)
from triptych.audit.synthesis.leakage import LabelFromSurface, LabelSourceInformation
from triptych.audit.synthesis.no_answer import (
    CutOff,
    EmptyAnswers,
    Looping,
    OtherScript,
    Refusals,
    RefusalsByLabel,
    ResponsesWithoutAnswer,
    SharedAnswers,
    TemplateLeaks,
)
from triptych.audit.synthesis.prompts import (
    EffectivePrompts,
    NearDuplicatePrompts,
    NoisyPrompts,
    PromptGini,
    RejectedScore,
    RepeatedRows,
    TestsSeen,
)
from triptych.audit.synthesis.self_play import (
    AnchorGold,
    EntropyRatio,
    GoldPrefersRejected,
    MarginDecline,
    Novelty,
)
from triptych.audit.synthesis.shift import EffectiveSampleShare, ExtraSurprise, OffPolicyShare, PolicyTellable

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    OffPolicyShare(),
    PolicyTellable(),
    ExtraSurprise(),
    EffectiveSampleShare(),
    UniqueAnswers(),
    SiblingCosine(),
    EmbeddedSiblingCosine(),
    VendiShare(),
    ClusterEntropy(),
    DistinctBigrams(),
    NearDuplicateSiblings(),
    PairsWithoutMargin(),
    WidestMargins(),
    MarginEntropy(),
    AlignmentPotential(),
    NoContrast(),
    AlwaysOrNeverSolved(),
    GroupsWithoutSpread(),
    LabelFromSurface(),
    LabelSourceInformation(),
    AnchorGold(),
    GoldPrefersRejected(),
    Novelty(),
    MarginDecline(),
    EntropyRatio(),
    NoisyPrompts(),
    RejectedScore(),
    NearDuplicatePrompts(),
    RepeatedRows(),
    PromptGini(),
    EffectivePrompts(),
    TestsSeen(),
    ResponsesWithoutAnswer(),
    CutOff(),
    Looping(),
    TemplateLeaks(),
    EmptyAnswers(),
    Refusals(),
    RefusalsByLabel(),
    OtherScript(),
    SharedAnswers(),
)

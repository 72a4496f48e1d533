"""Diagnostics of panel 3: training examples."""

from triptych.audit.diagnostic import Diagnostic
from triptych.audit.instantiation.advantages import AdvantageFollowsLength, AdvantageMovedByNormaliser
from triptych.audit.instantiation.classes import ClassWeightRatio, GoodRows
from triptych.audit.instantiation.dimensions import LabelFlipsUnderWeights, ParetoIncomparablePairs
from triptych.audit.instantiation.extremes import RejectedZScore
from triptych.audit.instantiation.granularity import FineLabelsWithoutVerdicts, StepsFoldedIntoLabel
from triptych.audit.instantiation.kept import RelationsKept, ResponsesUsed
from triptych.audit.instantiation.labels import (
    ContradictoryPairs,
    PreferenceCycles,
    ScoresAgainstLabel,
    SecondOpinionAgainst,
)
from triptych.audit.instantiation.length import ChosenLonger, LabelAucFromLength, LengthEffect, MarginFollowsLength
from triptych.audit.instantiation.margins import MarginVariation, PairsWithinNoise, WeightFollowsMargin
from triptych.audit.instantiation.quality import ChosenBelowFloor, ChosenShortfall
from triptych.audit.instantiation.similarity import IdenticalPairs, NearIdenticalPairs
from triptych.audit.instantiation.splits import SameQuestionApart, TestPromptsInTraining

DIAGNOSTICS: tuple[Diagnostic, ...] = (
    StepsFoldedIntoLabel(),
    FineLabelsWithoutVerdicts(),
    LabelFlipsUnderWeights(),
    ParetoIncomparablePairs(),
    MarginVariation(),
    WeightFollowsMargin(),
    PairsWithinNoise(),
    IdenticalPairs(),
    NearIdenticalPairs(),
    ChosenLonger(),
    LabelAucFromLength(),
    LengthEffect(),
    MarginFollowsLength(),
    ContradictoryPairs(),
    PreferenceCycles(),
    SecondOpinionAgainst(),
    ScoresAgainstLabel(),
    RejectedZScore(),
    ChosenBelowFloor(),
    ChosenShortfall(),
    AdvantageFollowsLength(),
    AdvantageMovedByNormaliser(),
    GoodRows(),
    ClassWeightRatio(),
    RelationsKept(),
    ResponsesUsed(),
    SameQuestionApart(),
    TestPromptsInTraining(),
)

/// Every kind of message of the protocol. Values are part of the protocol and stay below 128.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Label {
    /// The format version.
    Version = 1,
    /// The parameters of the profile.
    Profile = 2,
    /// The digest of the verifying key.
    Key = 3,
    /// The shape of the statement: token count, positions, the boundary between prompt and generation.
    Statement = 4,
    /// The public input or its commitment.
    Input = 5,
    /// The public output or its commitment.
    Output = 6,
    /// The root of the witness tree.
    WitnessRoot = 7,
    /// The nonce of a proof of work.
    Nonce = 8,
    /// The root of the tree of an earlier proof's state.
    PastRoot = 9,
    /// The root of the tree of the state that is handed on.
    StateRoot = 10,

    /// Challenges of the lookup argument: the tuple combiner and the shift.
    LookupChallenge = 16,
    /// The fraction at the root of the LogUp tree.
    LookupRoot = 17,
    /// A round polynomial of a layer of the fraction tree, and the challenge that follows it.
    LookupRound = 18,
    /// The values that end a layer of the fraction tree, and the challenge that joins them.
    LookupLayer = 19,
    /// The batching of numerator and denominator in a layer.
    LookupLambda = 20,

    /// The point of a zero-check.
    RelationPoint = 32,
    /// The batching of relations.
    RelationBatch = 33,
    /// Claimed sums of relations.
    RelationClaim = 34,
    /// A round polynomial of a relation.
    RelationRound = 35,
    /// The challenge of a round of a relation.
    RelationChallenge = 36,
    /// Evaluations that end a relation.
    RelationEvals = 37,
    /// The challenge of wirings and public tensors.
    WiringChallenge = 40,
    /// The point at which a key pins its fixed columns.
    PinPoint = 41,

    /// The batching of evaluation claims.
    OpeningBatch = 48,
    /// A round polynomial of the opening.
    OpeningRound = 49,
    /// The challenge of a round of the opening.
    OpeningChallenge = 50,
    /// The root of the folded word `u`, the combination of all columns.
    FoldedRoot = 51,
    /// The root of a later fold.
    FoldRoot = 52,
    /// The final message in clear.
    FinalMessage = 53,

    /// The seed of a proof of work.
    PowSeed = 64,
    /// A query.
    QueryIndex = 65,
}

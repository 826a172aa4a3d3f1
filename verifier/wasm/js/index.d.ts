/** A matrix of integers that is public. */
export interface Tensor {
  /** Its name in the model, which the maker of the key chose. */
  name: string;
  rows: number;
  cols: number;
  /** An integer `q` stands for the real number `q * 2 ** -fractionBits`. */
  fractionBits: number;
  /** The entries, row by row. */
  values: Int32Array;
}

/** The program under the key maps these inputs to these outputs. */
export interface ProgramStatement {
  kind: "program";
  inputs: Tensor[];
  outputs: Tensor[];
  /** Public lists of indices, if the program has any. */
  lists: Uint32Array[];
}

/** The language model under the key continues a prompt so: each token after it is the model's most likely one. */
export interface TextStatement {
  kind: "text";
  /** All tokens, by number. The key does not say what the numbers mean: that is for a tokenizer that you rely on. */
  tokens: Uint32Array;
  /** How many of them are given; those after them are proven. */
  prompt: number;
}

/** The language model under the key says its part of a conversation. */
export interface ChatStatement {
  kind: "chat";
  /** Its turns, each after all before it: tokens that are given, then tokens that are proven. */
  turns: { given: Uint32Array; generated: Uint32Array }[];
}

/** The encoder under the key gives this vector for this sentence. */
export interface EncodingStatement {
  kind: "encoding";
  /** All tokens of the sentence, by number. */
  tokens: Uint32Array;
  /** One integer for each channel; their common scale does not matter for cosines. */
  vector: Int32Array;
}

export type Statement = ProgramStatement | TextStatement | ChatStatement | EncodingStatement;

/** What a key says of itself. */
export interface Key {
  /** 64 hexadecimal digits that name the model, the commitment to its weights, and the parameters. */
  digest: string;
  /** The name that the maker of the key chose. It vouches for nothing. */
  model: string;
}

export interface Accepted {
  ok: true;
  /** What was proven. */
  statement: Statement;
  reason: null;
  refused: null;
  key: Key;
  /**
   * Why the weights under the key keep the bounds that it declares, without which a proof shows nothing: proven by the
   * registration, or taken on trust, because you made the key or rely on who did.
   */
  bounds: "trusted" | "registered";
}

export interface Refused {
  ok: false;
  statement: null;
  /** Why, in the words of `circlet verify`. */
  reason: string;
  /**
   * What is refused: the key's file or the proof's file, because it cannot be used; the proof, because it is wrong; or
   * the registration, for either reason.
   */
  refused: "key" | "file" | "proof" | "registration";
  /** Null where the key's file cannot be used. */
  key: Key | null;
  bounds: null;
}

export type Verdict = Accepted | Refused;

export interface Options {
  /** The bytes of a registration (`.reg`): a proof that the weights keep the bounds that the key declares. */
  registration?: Uint8Array | null;
}

/**
 * Judges a proof.
 *
 * @param key The bytes of a key's file (`.vk`).
 * @param proof The bytes of a proof's file (`.proof`).
 * @returns The verdict. Files that cannot be used are verdicts too.
 * @throws TypeError for arguments of other types, RangeError where there is not enough memory to hold the files.
 */
export function verify(key: Uint8Array, proof: Uint8Array, options?: Options | null): Verdict;

/**
 * Judges a proof that comes in pieces, such as the body of a response.
 *
 * The stream is read to its end, or until nothing that follows can change the verdict: it does not begin as a proof
 * under this key does, or it is longer than any proof. Then it is cancelled.
 *
 * @returns The verdict. The promise is rejected with the stream's own error if it has one, and otherwise as `verify` throws.
 */
export function verifyStream(
  key: Uint8Array,
  proof: ReadableStream<Uint8Array>,
  options?: Options | null,
): Promise<Verdict>;

// Token buckets of ICMP answers (P17): echoes and errors have one each, so a flood of the one does not silence the other.
import { ICMP_BURST, ICMP_PER_SECOND } from '../layout.gen';
import { nowMs, state } from '../memory';

export function takeEchoToken(): bool {
  refill();
  if (state.echoTokens == 0) return false;
  state.echoTokens -= 1;
  return true;
}

export function takeErrorToken(): bool {
  refill();
  if (state.errorTokens == 0) return false;
  state.errorTokens -= 1;
  return true;
}

function refill(): void {
  const elapsed = nowMs - state.tokensMs;
  const tokens = <u32>min<u64>((<u64>elapsed * ICMP_PER_SECOND) / 1000, ICMP_BURST);
  if (tokens == 0) return;
  state.tokensMs = nowMs;
  state.echoTokens = min(ICMP_BURST, state.echoTokens + tokens);
  state.errorTokens = min(ICMP_BURST, state.errorTokens + tokens);
}

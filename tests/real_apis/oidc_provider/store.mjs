// The provider's storage: one Map, of which the orders of a test remove things.

export const records = new Map();

const now = () => Math.floor(Date.now() / 1000);

export class Adapter {
  constructor(model) {
    this.model = model;
  }

  key(id) {
    return `${this.model}:${id}`;
  }

  async upsert(id, payload) {
    records.set(this.key(id), payload);
  }

  async find(id) {
    return records.get(this.key(id));
  }

  async findByUid(uid) {
    return all(this.model).find((payload) => payload.uid === uid);
  }

  async consume(id) {
    records.get(this.key(id)).consumed = now();
  }

  async destroy(id) {
    records.delete(this.key(id));
  }

  async revokeByGrantId(grantId) {
    remove((model, payload) => payload.grantId === grantId);
  }
}

// The payloads of all records of this model.
export function all(model) {
  return [...records].filter(([key]) => key.startsWith(`${model}:`)).map(([, payload]) => payload);
}

export function remove(isUnwanted) {
  for (const [key, payload] of records) {
    if (isUnwanted(key.split(':')[0], payload)) records.delete(key);
  }
}

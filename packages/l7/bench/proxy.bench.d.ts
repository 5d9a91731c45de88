export interface Row {
    readonly what: string;
    readonly value: number;
    readonly unit: string;
    readonly ratio?: number;
    readonly peer?: string;
    readonly note?: string;
}
export declare function run(): Promise<Row[]>;

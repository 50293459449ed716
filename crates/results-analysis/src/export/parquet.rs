//! Parquet, written through the column interface of the `parquet` crate.

use std::{io::Write, sync::Arc};

use parquet::{
    basic::{Compression, ConvertedType, LogicalType, Repetition, Type as PhysicalType},
    data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int64Type},
    file::{
        properties::WriterProperties,
        writer::{SerializedFileWriter, SerializedRowGroupWriter},
    },
    schema::types::{Type, TypePtr},
};

use super::{
    ExportError,
    rows::Sink,
    value::{Kind, Value},
};

/// Rows that are held until they are written together.
const ROW_GROUP: usize = 65_536;

pub(super) struct ParquetSink<'a> {
    to: Option<&'a mut (dyn Write + Send)>,
    writer: Option<SerializedFileWriter<&'a mut (dyn Write + Send)>>,
    columns: Vec<Buffer>,
    rows: usize,
    row_group: usize,
}

/// The cells of one column: which of them are there, and those.
struct Buffer {
    present: Vec<i16>,
    values: Values,
}

enum Values {
    Integer(Vec<i64>),
    Number(Vec<f64>),
    Text(Vec<ByteArray>),
}

impl<'a> ParquetSink<'a> {
    pub(super) fn new(to: &'a mut (dyn Write + Send)) -> Self {
        Self::with_row_group(to, ROW_GROUP)
    }

    fn with_row_group(to: &'a mut (dyn Write + Send), row_group: usize) -> Self {
        Self {
            to: Some(to),
            writer: None,
            columns: Vec::new(),
            rows: 0,
            row_group,
        }
    }

    pub(super) fn finish(mut self) -> Result<(), ExportError> {
        self.write_group()?;
        if let Some(writer) = self.writer {
            writer.into_inner()?.flush()?;
        }
        Ok(())
    }

    fn write_group(&mut self) -> Result<(), ExportError> {
        let Some(writer) = self.writer.as_mut().filter(|_| self.rows > 0) else {
            return Ok(());
        };
        let mut group = writer.next_row_group()?;
        for column in &mut self.columns {
            column.write(&mut group)?;
        }
        group.close()?;
        self.rows = 0;
        Ok(())
    }
}

impl Sink for ParquetSink<'_> {
    fn begin(&mut self, columns: &[(&'static str, Kind)]) -> Result<(), ExportError> {
        let Some(to) = self.to.take() else { return Ok(()) };
        let properties = WriterProperties::builder()
            .set_compression(Compression::SNAPPY)
            .set_created_by(concat!("gipfel ", env!("CARGO_PKG_VERSION")).to_owned())
            .build();
        self.writer = Some(SerializedFileWriter::new(
            to,
            schema(columns)?,
            Arc::new(properties),
        )?);
        self.columns = columns.iter().map(|(_, kind)| Buffer::new(*kind)).collect();
        Ok(())
    }

    fn row(&mut self, cells: &[Value<'_>]) -> Result<(), ExportError> {
        for (column, cell) in self.columns.iter_mut().zip(cells) {
            column.push(cell);
        }
        self.rows += 1;
        if self.rows == self.row_group {
            self.write_group()?;
        }
        Ok(())
    }
}

impl Buffer {
    fn new(kind: Kind) -> Self {
        let values = match kind {
            Kind::Integer => Values::Integer(Vec::new()),
            Kind::Number => Values::Number(Vec::new()),
            Kind::Text => Values::Text(Vec::new()),
        };
        Self {
            present: Vec::new(),
            values,
        }
    }

    /// A cell of another kind than the column's would be a mistake of the table, and is left out.
    fn push(&mut self, cell: &Value<'_>) {
        let is_pushed = match (&mut self.values, cell) {
            (Values::Integer(values), Value::Integer(value)) => {
                values.push(*value);
                true
            }
            (Values::Number(values), Value::Number(value)) => {
                values.push(*value);
                true
            }
            (Values::Text(values), Value::Text(text)) => {
                values.push(ByteArray::from(text.as_bytes().to_vec()));
                true
            }
            (_, cell) => {
                debug_assert_eq!(*cell, Value::Null, "a cell is of its column's kind");
                false
            }
        };
        self.present.push(i16::from(is_pushed));
    }

    fn write(
        &mut self,
        group: &mut SerializedRowGroupWriter<'_, &mut (dyn Write + Send)>,
    ) -> Result<(), ExportError> {
        match &mut self.values {
            Values::Integer(values) => write_column::<Int64Type>(group, values, &self.present)?,
            Values::Number(values) => write_column::<DoubleType>(group, values, &self.present)?,
            Values::Text(values) => write_column::<ByteArrayType>(group, values, &self.present)?,
        }
        self.present.clear();
        Ok(())
    }
}

fn write_column<T: DataType>(
    group: &mut SerializedRowGroupWriter<'_, &mut (dyn Write + Send)>,
    values: &mut Vec<T::T>,
    present: &[i16],
) -> Result<(), ExportError> {
    if let Some(mut column) = group.next_column()? {
        column.typed::<T>().write_batch(values, Some(present), None)?;
        column.close()?;
    }
    values.clear();
    Ok(())
}

fn schema(columns: &[(&'static str, Kind)]) -> Result<TypePtr, ExportError> {
    let fields = columns
        .iter()
        .map(|(name, kind)| field(name, *kind).map(Arc::new))
        .collect::<Result<Vec<_>, _>>()?;
    let schema = Type::group_type_builder("gipfel").with_fields(fields).build()?;
    Ok(Arc::new(schema))
}

fn field(name: &str, kind: Kind) -> Result<Type, ExportError> {
    let physical = match kind {
        Kind::Integer => PhysicalType::INT64,
        Kind::Number => PhysicalType::DOUBLE,
        Kind::Text => PhysicalType::BYTE_ARRAY,
    };
    let builder = Type::primitive_type_builder(name, physical).with_repetition(Repetition::OPTIONAL);
    let builder = match kind {
        Kind::Text => builder
            .with_logical_type(Some(LogicalType::String))
            .with_converted_type(ConvertedType::UTF8),
        _ => builder,
    };
    Ok(builder.build()?)
}

#[cfg(test)]
mod tests {
    use parquet::{
        file::reader::{FileReader, SerializedFileReader},
        record::RowAccessor,
    };

    use super::*;

    #[test]
    fn row_groups_follow_each_other() {
        let mut bytes: Vec<u8> = Vec::new();
        let mut sink = ParquetSink::with_row_group(&mut bytes, 4);
        sink.begin(&[("number", Kind::Integer)]).expect("a schema");
        for number in 0..10 {
            let cell = if number % 3 == 0 {
                Value::Null
            } else {
                Value::Integer(number)
            };
            sink.row(&[cell]).expect("a row");
        }
        sink.finish().expect("a file");
        let reader = SerializedFileReader::new(bytes::Bytes::from(bytes)).expect("a Parquet file");
        assert_eq!(reader.metadata().num_row_groups(), 3);
        let read: Vec<Option<i64>> = reader
            .get_row_iter(None)
            .expect("rows")
            .map(|row| row.expect("a row").get_long(0).ok())
            .collect();
        let expected: Vec<Option<i64>> = (0..10)
            .map(|number| (number % 3 != 0).then_some(number))
            .collect();
        assert_eq!(read, expected);
    }
}
